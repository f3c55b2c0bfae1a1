// Lengths of time as people type them: "26h", "1 h 30 min", "7 days"; and back again, exactly.

const UNITS: Record<string, number> = {
  s: 1, sec: 1, second: 1, seconds: 1, m: 60, min: 60, minute: 60, minutes: 60, h: 3600, hour: 3600, hours: 3600, d: 86400, day: 86400, days: 86400,
  w: 604800, week: 604800, weeks: 604800,
}

/** Seconds; undefined for what is no length of time. "" is 0: there is none. */
export function spanOf(text: string): number | undefined {
  const rest = text.trim().toLowerCase()
  if (rest === '') return 0
  if (!/^(\d+(\.\d+)?\s*[a-z]+\s*)+$/.test(rest)) return undefined
  let sum = 0
  for (const [, number, unit] of rest.matchAll(/(\d+(?:\.\d+)?)\s*([a-z]+)/g)) {
    const size = UNITS[unit ?? '']
    if (size === undefined) return undefined
    sum += Number(number) * size
  }
  return sum
}

/** "" for 0. Every unit that is needed, so that spanOf gives the same again. */
export function spanText(inSeconds: number): string {
  let rest = inSeconds
  const parts: string[] = []
  for (const [size, unit] of [[86400, 'd'], [3600, 'h'], [60, 'min']] as const) {
    const whole = Math.floor(rest / size)
    if (whole > 0) parts.push(`${whole} ${unit}`)
    rest -= whole * size
  }
  if (rest > 0) parts.push(`${rest} s`)
  return parts.join(' ')
}
