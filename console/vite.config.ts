import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

const daemon = process.env.PALYRA_URL ?? "http://127.0.0.1:8484";

export default defineConfig({
  base: "/console/",
  plugins: [react()],
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  build: {
    outDir: "../src/palyra/console_assets",
    emptyOutDir: true,
    chunkSizeWarningLimit: 1_000,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/api": { target: daemon, changeOrigin: true } } },
});
