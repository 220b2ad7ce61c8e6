import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./style/base.css";
import "./style/parts.css";
import { App, onKey } from "./app";
import { goLive } from "./state/live";
import { followLinks } from "./url/route";

followLinks();
goLive();
addEventListener("keydown", onKey);
render(<App />, document.getElementById("app")!);
