// A .gz beside each file that gains by it, and the limit of what a first visit loads, whichever page it begins with.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'

const SCRIPT_BYTES_MAX = 300 * 1024

function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? filesBelow(join(folder, entry.name)) : [join(folder, entry.name)])
}

/** The scripts that come with `file`: those that it imports, and they; `lazy`: also those that it asks for later. */
function loadedWith(bundle, file, lazy, seen = new Set()) {
  const chunk = bundle[file]
  if (!chunk || chunk.type !== 'chunk' || seen.has(file)) return seen
  seen.add(file)
  for (const other of chunk.imports) loadedWith(bundle, other, lazy, seen)
  if (lazy) for (const other of chunk.dynamicImports) loadedWith(bundle, other, lazy, seen)
  return seen
}

/** Each page with all that a visit that begins there loads; the frame itself asks for the pages. */
export function visits(bundle) {
  const frame = Object.values(bundle).find((chunk) => chunk.type === 'chunk' && chunk.isEntry)
  const always = loadedWith(bundle, frame.fileName, false)
  const pages = [...new Set([...always].flatMap((file) => bundle[file].dynamicImports))]
  // What a page asks for later belongs to it, but not the frame again, which would be all pages.
  return pages.map((page) => ({ page, files: [...always, ...loadedWith(bundle, page, true, new Set(always))].filter((file, at, all) => all.indexOf(file) === at) }))
}

/** Vite: after the bundle is written. Fails the build when a first visit loads more than the limit. */
export function packedPlugin() {
  let out = ''
  let loads = []
  return {
    name: 'umbra-packed',
    apply: 'build',
    configResolved(config) { out = join(config.root, config.build.outDir) },
    writeBundle(_, bundle) { loads = visits(bundle) },
    closeBundle() {
      const scripts = new Map()
      for (const file of filesBelow(out)) {
        if (!/\.(html|js|css|svg|json|txt)$/.test(file)) continue
        const packed = gzipSync(readFileSync(file), { level: 9 })
        writeFileSync(`${file}.gz`, packed)
        if (file.endsWith('.js')) scripts.set(file.slice(out.length + 1), packed.length)
      }
      const kib = (files) => files.reduce((sum, file) => sum + (scripts.get(file) ?? 0), 0) / 1024
      const heaviest = loads.map((load) => ({ page: load.page, size: kib(load.files) })).sort((a, b) => b.size - a.size)[0]
      console.log(`scripts, compressed: all pages together ${kib([...scripts.keys()]).toFixed(1)} KiB; the first visit at most ${heaviest.size.toFixed(1)} KiB (${heaviest.page}) of ${SCRIPT_BYTES_MAX / 1024}`)
      if (heaviest.size * 1024 > SCRIPT_BYTES_MAX) throw new Error('the scripts are larger than a first visit may load')
    },
  }
}
