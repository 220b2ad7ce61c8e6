import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./style/base.css";
import "./style/parts.css";
import { App, onKey } from "./app";
import { followLinks } from "./url/route";

followLinks();
addEventListener("keydown", onKey);
render(<App />, document.getElementById("app")!);
