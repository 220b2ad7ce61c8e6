import { defineConfig, type Plugin } from "vite";

// `npm run dev` serves the sources and asks a control plane for the data.
const CONTROL_PLANE = "http://127.0.0.1:8080";

/** The overview's scripts come along with the page's own, not after these have run: it is where people begin. */
const overviewAtOnce: Plugin = {
  name: "overview-at-once",
  transformIndexHtml: {
    order: "post",
    handler: (_page, { bundle }) => {
      const chunks = Object.values(bundle ?? {}).filter((each) => each.type === "chunk");
      const overview = chunks.find((each) => each.facadeModuleId?.endsWith("/tabs/overview.tsx"));
      const there = new Set(chunks.filter((each) => each.isEntry).flatMap((each) => [each.fileName, ...each.imports]));
      return [overview?.fileName ?? [], overview?.imports ?? []].flat().filter((file) => !there.has(file))
        .map((file) => ({ tag: "link", attrs: { rel: "modulepreload", crossorigin: "", href: `./${file}` }, injectTo: "head" as const }));
    },
  },
};

export default defineConfig({
  base: "./", // so that it also works under a path of a reverse proxy
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  plugins: [overviewAtOnce],
  server: { proxy: { "/api": CONTROL_PLANE } },
  build: {
    target: "es2022",
    outDir: "dist", // the packaging hook names another
    emptyOutDir: true,
    manifest: true, // which scripts a tab needs: tests hold them to a budget
    assetsInlineLimit: 0, // the content security policy knows no data: URL
    modulePreload: { polyfill: false }, // what a tab imports comes along with it, not after it
    reportCompressedSize: false,
    rolldownOptions: {
      output: {
        codeSplitting: {
          // Browsers ask for six things at a time, and the live stream is one of them: the shell and what tabs share are
          // one script, not a dozen small ones. Left out of it is what one or two tabs alone use.
          groups: [
            { name: "map", test: /[\\/]src[\\/]map/, minShareCount: 2, priority: 1 },
            { name: "shared", test: /[\\/]src[\\/](app|(components|state)(?![\\/](attention|course|daybars|lent-and-used|spark))|theme|url|format|api(?![\\/](raw|download)))|node_modules[\\/](preact|@preact)/, priority: 2 },
          ],
        },
      },
    },
  },
});
