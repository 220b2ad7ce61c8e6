import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./style/base.css";
import "./style/parts.css";
import "./style/overview.css";
import { App, fetchFirst, onKey } from "./app";
import { goLive } from "./state/live";
import { followLinks } from "./url/route";

fetchFirst();
followLinks();
goLive();
addEventListener("keydown", onKey);
render(<App />, document.getElementById("app")!);
