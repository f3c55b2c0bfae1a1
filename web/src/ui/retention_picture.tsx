// What a policy's retention keeps, as a picture: a row for each rule, a mark for each point, the newest at the right.
import { Text } from '@mantine/core'
import type { ExpectedRecoveryPoint } from '../api/client'
import { expectedRows, expectedWords, place, TICKS, type RuleRow } from '../logic/expected'
import { time } from '../logic/format'
import { useZone } from './preferences'

const ROW_WORDS: Record<RuleRow, string> = {
  last: 'Newest', within: 'Last time', hourly: 'Hourly', daily: 'Daily', weekly: 'Weekly', monthly: 'Monthly', yearly: 'Yearly',
}

export function RetentionPicture({ points, now }: { points: ExpectedRecoveryPoint[]; now: number }) {
  const zone = useZone()
  const rows = expectedRows(points)
  const oldestText = points.at(-1)?.pointTime
  if (!oldestText) return <Text size="sm" className="dim">Without a schedule no point comes by itself; what people back up is kept by these rules.</Text>
  const oldest = new Date(oldestText).getTime()
  const ticks = TICKS.filter(([age]) => age < now - oldest)
  return (
    <figure className="keeps" aria-label={`What is kept: ${expectedWords(points)}, the oldest of ${time(oldestText, zone)}`}>
      {rows.length === 0 ? <Text size="sm">Everything is kept: {points.length >= 1000 ? 'the newest 1,000' : points.length} points so far, and it grows without end.</Text> : rows.map((row) => (
        <div className="keeps-row" key={row.rule}>
          <span className="keeps-label">{ROW_WORDS[row.rule]}</span>
          <span className="keeps-line" aria-hidden="true">
            {row.times.map((at) => <span key={at} className={`keeps-point keeps-${row.rule}`} style={{ left: `${place(at, oldest, now) * 100}%` }} title={time(new Date(at).toISOString(), zone)} />)}
          </span>
        </div>
      ))}
      <div className="keeps-row" aria-hidden="true">
        <span className="keeps-label" />
        <span className="keeps-axis">
          {ticks.map(([age, label]) => <span key={label} style={{ left: `${place(now - age, oldest, now) * 100}%` }}>{label}</span>)}
          <span className="keeps-now">now</span>
        </span>
      </div>
      <figcaption><Text size="sm">{expectedWords(points)}. The oldest is of {time(oldestText, zone)}.</Text></figcaption>
    </figure>
  )
}
