// Numbers and times as people read them. Pure; the API's 64-bit numbers come as texts, durations as "3.5s", times as RFC 3339.

export type Zone = 'local' | 'utc'

/** A number of the API; 0 for what is absent or no number. */
export function num(value: string | number | undefined): number {
  const parsed = Number(value ?? 0)
  return Number.isFinite(parsed) ? parsed : 0
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB']

/** "1.5 GiB": three digits at most, units of 1024. */
export function bytes(value: string | number | undefined): string {
  let rest = num(value)
  let unit = 0
  // 1023.5 would be shown as 1024 of the smaller unit.
  while (Math.abs(rest) >= 1023.5 && unit + 1 < UNITS.length) {
    rest /= 1024
    unit += 1
  }
  const digits = unit === 0 || Math.abs(rest) >= 99.95 ? 0 : 1
  return `${rest.toFixed(digits).replace(/\.0$/, '')} ${UNITS[unit]}`
}

export function rate(bytesPerSecond: string | number | undefined): string {
  return `${bytes(bytesPerSecond)}/s`
}

/** Seconds of "3.5s"; undefined for what is absent. */
export function seconds(duration: string | undefined): number | undefined {
  if (!duration) return undefined
  const match = /^(-?\d+(?:\.\d+)?)s$/.exec(duration)
  return match ? Number(match[1]) : undefined
}

/** "250 ms", "3.5 s", "4 min 10 s", "2 h 5 min", "3 d 4 h": two units at most. */
export function duration(inSeconds: number | undefined): string {
  if (inSeconds === undefined) return '–'
  if (inSeconds < 0) return `-${duration(-inSeconds)}`
  if (inSeconds < 0.9995) return `${Math.round(inSeconds * 1000)} ms`
  if (inSeconds < 9.95) return `${inSeconds.toFixed(1).replace(/\.0$/, '')} s`
  const whole = Math.round(inSeconds)
  const parts: [number, string][] = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']]
  const at = parts.findIndex(([size]) => whole >= size)
  const [size, unit] = parts[at] ?? [1, 's']
  const next = parts[at + 1]
  const rest = next ? Math.floor((whole % size) / next[0]) : 0
  return `${Math.floor(whole / size)} ${unit}${next && rest ? ` ${rest} ${next[1]}` : ''}`
}

/** "26 Nov 2026, 12:19:55": in the zone that the page shows. */
export function time(value: string | undefined, zone: Zone): string {
  if (!value) return '–'
  const date = new Date(value)
  if (Number.isNaN(date.getTime())) return '–'
  return new Intl.DateTimeFormat('en-GB', {
    day: 'numeric', month: 'short', year: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23',
    ...(zone === 'utc' ? { timeZone: 'UTC' } : {}),
  }).format(date)
}

/** "12:19:55.042": the time of day, to the millisecond. */
export function clock(value: string, zone: Zone): string {
  const date = new Date(value)
  if (Number.isNaN(date.getTime())) return '–'
  return new Intl.DateTimeFormat('en-GB', {
    hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23', ...(zone === 'utc' ? { timeZone: 'UTC' } : {}),
  }).format(date)
}

/** "in 5 min", "3 h ago", "now": one unit, rounded down, so that nothing looks younger or nearer than a whole unit. */
export function relative(value: string | undefined, now: number): string {
  if (!value) return 'never'
  const away = (new Date(value).getTime() - now) / 1000
  if (Number.isNaN(away)) return 'never'
  const size = Math.abs(away)
  if (size < 5) return 'now'
  const units: [number, string][] = [[86400, 'd'], [3600, 'h'], [60, 'min'], [1, 's']]
  const [of, unit] = units.find(([limit]) => size >= limit) ?? [1, 's']
  const text = `${Math.floor(size / of)} ${unit}`
  return away > 0 ? `in ${text}` : `${text} ago`
}

/** "Europe/Berlin (UTC+1)": which zone the times are in, with its present distance. */
export function zoneName(zone: Zone, at: Date): string {
  if (zone === 'utc') return 'UTC'
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone
  const offset = -at.getTimezoneOffset()
  const minutes = Math.abs(offset) % 60
  const sign = offset < 0 ? '-' : '+'
  const distance = `UTC${sign}${Math.floor(Math.abs(offset) / 60)}${minutes ? `:${String(minutes).padStart(2, '0')}` : ''}`
  return name === 'UTC' ? 'UTC' : `${name} (${distance})`
}

/** 0 to 100; 0 when there is no whole. Full only when really full. */
export function percent(part: number, whole: number): number {
  if (whole <= 0) return 0
  const value = Math.min(100, (part / whole) * 100)
  return part < whole ? Math.min(99, Math.floor(value)) : 100
}

export function count(value: number, one: string, many = `${one}s`): string {
  return `${value.toLocaleString('en-GB')} ${value === 1 ? one : many}`
}

/** "CHILD_SNAPSHOT" of "BACKUP_MECHANISM_CHILD_SNAPSHOT" as "child snapshot"; "" for the unspecified value. */
export function enumWords(value: string | undefined, prefix: string): string {
  if (!value || !value.startsWith(prefix)) return ''
  const rest = value.slice(prefix.length)
  return rest === 'UNSPECIFIED' ? '' : rest.toLowerCase().replaceAll('_', ' ')
}

/** The last part of a resource name: "j1" of "jobs/j1". */
export function idOf(name: string | undefined): string {
  return (name ?? '').split('/').at(-1) ?? ''
}

/** Host and machine of "hosts/H/virtualMachines/V"; undefined for another name. */
export function machineIds(name: string | undefined): { host: string; machine: string } | undefined {
  const match = /^hosts\/([^/]+)\/virtualMachines\/([^/]+)$/.exec(name ?? '')
  return match?.[1] && match[2] ? { host: match[1], machine: match[2] } : undefined
}
