import { defineConfig } from "vite";

// `npm run dev` serves the sources and asks a control plane for the data.
const CONTROL_PLANE = "http://127.0.0.1:8080";

export default defineConfig({
  base: "./", // so that it also works under a path of a reverse proxy
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  server: { proxy: { "/api": CONTROL_PLANE } },
  build: {
    target: "es2022",
    outDir: "dist", // the packaging hook names another
    emptyOutDir: true,
    manifest: true, // which scripts a tab needs: tests hold them to a budget
    assetsInlineLimit: 0, // the content security policy knows no data: URL
    modulePreload: { polyfill: false }, // what a tab imports comes along with it, not after it
    reportCompressedSize: false,
  },
});
