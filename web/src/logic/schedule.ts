// Schedules as people choose them, as the daemon's expressions (docs/policies.md), and in words. What isn't one of the simple shapes is kept as it
// was written: nothing that somebody typed is lost by being looked at.

export const KINDS = ['daily', 'weekdays', 'weekends', 'weekly', 'monthly', 'hourly', 'every', 'own'] as const
export type ScheduleKind = (typeof KINDS)[number]

export const KIND_LABELS: Record<ScheduleKind, string> = {
  daily: 'Every day', weekdays: 'Monday to Friday', weekends: 'Saturday and Sunday', weekly: 'On some days of the week', monthly: 'On some days of the month',
  hourly: 'Every hour', every: 'Again and again', own: 'In own words',
}

export const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const
export const DAY_WORDS: Record<string, string> = {
  mon: 'Monday', tue: 'Tuesday', wed: 'Wednesday', thu: 'Thursday', fri: 'Friday', sat: 'Saturday', sun: 'Sunday',
}

export interface ScheduleChoice {
  kind: ScheduleKind
  /** "22:00"; of hourly only the minutes count. Several: "06:00,18:30". */
  at: string
  /** Of weekly: names of DAYS. Of monthly: "1", "15", "last", "first sun". */
  days: string[]
  /** Of every. */
  count: number
  unit: 'minutes' | 'hours'
  /** Of own. */
  text: string
}

export const EMPTY_CHOICE: ScheduleChoice = { kind: 'daily', at: '22:00', days: [], count: 4, unit: 'hours', text: '' }

const TIME = String.raw`\d{1,2}:\d{2}(?:\s*,\s*\d{1,2}:\d{2})*`
const PLAIN = new RegExp(`^(daily|weekdays|weekends) at (${TIME})$`)
const WEEKLY = new RegExp(`^weekly on (.+) at (${TIME})$`)
const MONTHLY = new RegExp(`^monthly on (.+) at (${TIME})$`)
const HOURLY = /^hourly(?: at :(\d{2}))?$/
const EVERY = /^every (?:(\d+) (minute|hour)s?|(minute|hour))$/

const listOf = (text: string) => text.split(',').map((part) => part.trim()).filter((part) => part !== '')

/** Days of "sat,sun" or "mon-fri"; undefined for what is none. */
function weekdaysOf(text: string): string[] | undefined {
  const days = new Set<string>()
  for (const part of listOf(text)) {
    const [first = '', last = first] = part.split('-').map((day) => day.trim())
    const from = DAYS.findIndex((day) => day === first)
    const to = DAYS.findIndex((day) => day === last)
    if (from < 0 || to < from) return undefined
    for (const day of DAYS.slice(from, to + 1)) days.add(day)
  }
  return DAYS.filter((day) => days.has(day))
}

/** What a person chose, from an expression. */
export function choiceOf(expression: string): ScheduleChoice {
  const text = expression.trim().toLowerCase().replace(/\s+/g, ' ')
  const plain = PLAIN.exec(text)
  if (plain) return { ...EMPTY_CHOICE, kind: plain[1] as ScheduleKind, at: plain[2] ?? '' }
  const weekly = WEEKLY.exec(text)
  const days = weekly ? weekdaysOf(weekly[1] ?? '') : undefined
  if (weekly && days) return { ...EMPTY_CHOICE, kind: 'weekly', days, at: weekly[2] ?? '' }
  const monthly = MONTHLY.exec(text)
  if (monthly) return { ...EMPTY_CHOICE, kind: 'monthly', days: listOf(monthly[1] ?? ''), at: monthly[2] ?? '' }
  const hourly = HOURLY.exec(text)
  if (hourly) return { ...EMPTY_CHOICE, kind: 'hourly', at: `00:${hourly[1] ?? '00'}` }
  const every = EVERY.exec(text)
  if (every) return { ...EMPTY_CHOICE, kind: 'every', count: Number(every[1] ?? 1), unit: (every[2] ?? every[3]) === 'hour' ? 'hours' : 'minutes' }
  return { ...EMPTY_CHOICE, kind: 'own', text: expression }
}

export function expressionOf(choice: ScheduleChoice): string {
  switch (choice.kind) {
    case 'daily': case 'weekdays': case 'weekends': return `${choice.kind} at ${choice.at}`
    case 'weekly': return `weekly on ${choice.days.join(',')} at ${choice.at}`
    case 'monthly': return `monthly on ${choice.days.join(',')} at ${choice.at}`
    case 'hourly': return `hourly at :${choice.at.split(':')[1] ?? '00'}`
    case 'every': return `every ${choice.count} ${choice.unit}`
    case 'own': return choice.text
  }
}

const inWords = (parts: string[]) => (parts.length < 2 ? parts.join('') : `${parts.slice(0, -1).join(', ')} and ${parts.at(-1)}`)

function ordinal(day: string): string {
  if (/^\d+$/.test(day)) {
    const number = Number(day)
    const ending = number % 100 >= 11 && number % 100 <= 13 ? 'th' : (['th', 'st', 'nd', 'rd'][number % 10] ?? 'th')
    return `the ${number}${ending}`
  }
  const [which = '', weekday = ''] = day.split(' ')
  return weekday ? `the ${which} ${DAY_WORDS[weekday] ?? weekday}` : 'the last day'
}

/** "every day at 22:00"; an expression in own words as it is. */
export function scheduleWords(expression: string): string {
  const choice = choiceOf(expression)
  const at = inWords(listOf(choice.at))
  switch (choice.kind) {
    case 'daily': return `every day at ${at}`
    case 'weekdays': return `Monday to Friday at ${at}`
    case 'weekends': return `Saturday and Sunday at ${at}`
    case 'weekly': return `every ${inWords(choice.days.map((day) => DAY_WORDS[day] ?? day))} at ${at}`
    case 'monthly': return `on ${inWords(choice.days.map(ordinal))} of each month at ${at}`
    case 'hourly': return choice.at.endsWith(':00') ? 'every full hour' : `every hour, ${Number(choice.at.split(':')[1])} minutes past`
    case 'every': return choice.count === 1 ? `every ${choice.unit.slice(0, -1)}` : `every ${choice.count} ${choice.unit}`
    case 'own': return expression
  }
}
