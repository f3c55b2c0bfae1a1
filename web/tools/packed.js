// A .gz beside each file that gains by it, and the limit of what a first visit loads.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

const SCRIPT_BYTES_MAX = 300 * 1024

function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? filesBelow(join(folder, entry.name)) : [join(folder, entry.name)])
}

/** Vite: after the bundle is written. Fails the build when all scripts together are larger than the limit. */
export function packedPlugin() {
  let out = ''
  return {
    name: 'umbra-packed',
    apply: 'build',
    configResolved(config) { out = join(config.root, config.build.outDir) },
    closeBundle() {
      let scripts = 0
      for (const file of filesBelow(out)) {
        if (!/\.(html|js|css|svg|json|txt)$/.test(file)) continue
        const packed = gzipSync(readFileSync(file), { level: 9 })
        writeFileSync(`${file}.gz`, packed)
        if (file.endsWith('.js')) scripts += packed.length
      }
      console.log(`scripts, compressed, all pages together: ${(scripts / 1024).toFixed(1)} KiB of ${SCRIPT_BYTES_MAX / 1024}`)
      if (scripts > SCRIPT_BYTES_MAX) throw new Error('the scripts are larger than a first visit may load')
    },
  }
}
