// The reasons of errors with what to do, read from the proto that defines them: the one place where they are written.
import { readFileSync } from 'node:fs'

/** "HOST_OFFLINE" -> "The host's agent isn't connected. Start umbra-agent there, or wait." */
export function parseReasons(proto) {
  const reasons = {}
  let comment = []
  for (const line of proto.split('\n')) {
    const text = line.trim()
    const value = /^ERROR_REASON_(\w+) = \d+/.exec(text)
    if (text.startsWith('//')) comment.push(text.replace(/^\/\/\s?/, ''))
    else {
      if (value && value[1] !== 'UNSPECIFIED') reasons[value[1]] = comment.join(' ')
      comment = []
    }
  }
  return reasons
}

/** Vite: `import reasons from 'virtual:reasons'`. */
export function reasonsPlugin(file) {
  const id = '\0virtual:reasons'
  return {
    name: 'umbra-reasons',
    resolveId: (source) => (source === 'virtual:reasons' ? id : undefined),
    load(asked) {
      if (asked !== id) return undefined
      this.addWatchFile(file)
      return `export default ${JSON.stringify(parseReasons(readFileSync(file, 'utf8')))}`
    },
  }
}
