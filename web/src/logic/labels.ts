// Labels as people type them, one "key=value" a line, and what has to be asked for so that they become so.

const KEY = /^[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?$/

export type Labels = Record<string, string>

export function labelText(labels: Labels | undefined): string {
  return Object.entries(labels ?? {}).map(([key, value]) => `${key}=${value}`).join('\n')
}

/** The labels, or what is wrong with a line. */
export function labelsOf(text: string): { labels: Labels; problem?: undefined } | { problem: string; labels?: undefined } {
  const labels: Labels = {}
  for (const line of text.split('\n').map((each) => each.trim()).filter((each) => each !== '')) {
    const cut = line.indexOf('=')
    const key = cut < 0 ? '' : line.slice(0, cut).trim()
    const value = line.slice(cut + 1).trim()
    if (cut < 0 || value === '') return { problem: `“${line}”: key=value, such as env=prod.` }
    if (!KEY.test(key)) return { problem: `“${key}” can’t be a key: 1 to 63 of a-z, 0-9, and inside also . _ / -.` }
    if (value.includes('"')) return { problem: `“${line}”: a value has no quotation marks.` }
    if (key in labels) return { problem: `“${key}” is there twice.` }
    labels[key] = value
  }
  return { labels }
}

export function labelChange(before: Labels | undefined, after: Labels): { set: Labels; remove: string[] } {
  return {
    set: Object.fromEntries(Object.entries(after).filter(([key, value]) => before?.[key] !== value)),
    remove: Object.keys(before ?? {}).filter((key) => !(key in after)),
  }
}
