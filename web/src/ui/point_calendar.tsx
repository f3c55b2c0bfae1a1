// The days of a month with their recovery points: where there are gaps is seen at once, and a day leads to its points.
import { Button, Group, Text } from '@mantine/core'
import type { RecoveryPoint } from '../api/client'
import { count } from '../logic/format'
import { dayOf, monthPlus, monthWeeks, monthWords, type CalendarDay } from '../logic/history'
import { useZone } from './preferences'

const WEEKDAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun']
const TONE_WORDS = { good: '', held: ', on hold or locked', removed: ', removed', none: '' }

export function PointCalendar(props: { points: RecoveryPoint[]; month: string; setMonth: (month: string) => void; chosen: string; choose: (day: string) => void }) {
  const zone = useZone()
  const { month, setMonth, chosen } = props
  const today = dayOf(new Date().toISOString(), zone)
  return (
    <div className="calendar">
      <Group justify="space-between" mb={6}>
        <Button size="compact-sm" variant="default" onClick={() => setMonth(monthPlus(month, -1))} aria-label="Month before">‹</Button>
        <Text fw={600} role="status">{monthWords(month)}</Text>
        <Button size="compact-sm" variant="default" disabled={month >= today.slice(0, 7)} onClick={() => setMonth(monthPlus(month, 1))} aria-label="Month after">›</Button>
      </Group>
      <table aria-label={`Recovery points of ${monthWords(month)}`}>
        <thead><tr>{WEEKDAYS.map((day) => <th key={day} scope="col">{day}</th>)}</tr></thead>
        <tbody>
          {monthWeeks(month, props.points, zone).map((week, index) => (
            <tr key={index}>{week.map((day, at) => <td key={day?.day ?? at}>{day && <Day day={day} today={day.day === today} chosen={day.day === chosen} choose={() => props.choose(day.day === chosen ? '' : day.day)} />}</td>)}</tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

function Day({ day, today, chosen, choose }: { day: CalendarDay; today: boolean; chosen: boolean; choose: () => void }) {
  if (day.points.length === 0) return <span className={today ? 'day day-today' : 'day'}>{day.number}</span>
  const words = `${day.number}: ${count(day.points.length, 'recovery point')}${TONE_WORDS[day.tone]}`
  return (
    <button type="button" className={`day day-${day.tone}${today ? ' day-today' : ''}`} aria-pressed={chosen} aria-label={words} title={words} onClick={choose}>
      {day.number}{day.points.length > 1 && <sub>{day.points.length}</sub>}
    </button>
  )
}
