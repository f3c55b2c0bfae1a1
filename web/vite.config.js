import react from '@vitejs/plugin-react'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'
import { packedPlugin } from './tools/packed.js'
import { reasonsPlugin } from './tools/reasons.js'

const reasons = fileURLToPath(new URL('../proto/umbra/v1/error_reasons.proto', import.meta.url))

export default defineConfig({
  plugins: [react(), reasonsPlugin(reasons), packedPlugin()],
  // Names by content in assets/, which the daemon lets browsers keep; nothing inlined, as the content policy wants it.
  build: { outDir: 'dist', assetsDir: 'assets', assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: 'es2022' },
  // `npm run dev` beside a running daemon: UMBRA_HTTP=https://127.0.0.1:7443
  server: process.env.UMBRA_HTTP ? { proxy: { '/v1': { target: process.env.UMBRA_HTTP, secure: false } } } : {},
  test: { include: ['src/**/*.test.{ts,tsx}'], environment: 'node', testTimeout: 30_000 },
})
