// What a person types into the search of machines, as the daemon's expression (docs/policies.md).

const WORD = /\b(name|host|uuid|label\.[a-z0-9._/-]+)\s*=/i

/** A text with a word such as "host=" is an expression already; anything else is looked for in names. "" asks for everything. */
export function filterOf(text: string): string {
  const trimmed = text.trim()
  if (trimmed === '') return ''
  if (WORD.test(trimmed)) return trimmed
  // What patterns and quotes mean to the expression can't be looked for; any character stands for it.
  const literal = trimmed.replace(/["\\[\]]/g, '?')
  return `name="*${literal}*"`
}
