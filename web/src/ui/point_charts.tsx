// What backups of a machine cost, over time: bytes, how much of it changes, and how long it stood still.
import { SegmentedControl, Stack, Text } from '@mantine/core'
import { useMemo, useState } from 'react'
import type { RecoveryPoint } from '../api/client'
import { bytes } from '../logic/format'
import { middleAndMost, pointSeries } from '../logic/history'
import { precise } from '../logic/phases'
import { TimeChart, type ChartSeries } from './time_chart'

const share = (value: number) => `${value.toFixed(value < 10 ? 1 : 0)} %`

type Shown = 'sizes' | 'change' | 'still'

export function PointCharts({ points }: { points: RecoveryPoint[] }) {
  const [shown, setShown] = useState<Shown>('sizes')
  const data = useMemo(() => pointSeries(points), [points])
  const series = useMemo((): Record<Shown, ChartSeries[]> => ({
    sizes: [{ label: 'Read', values: data.read, color: 'blue' }, { label: 'New', values: data.fresh, color: 'violet' }, { label: 'Stored', values: data.stored, color: 'green' }],
    change: [{ label: 'New, of all its data', values: data.change, color: 'blue' }],
    still: [{ label: 'Frozen', values: data.frozen, color: 'orange' }, { label: 'Stood still', values: data.stopped, color: 'violet' }],
  }), [data])
  if (data.times.length < 2) return <Text size="sm" className="dim">What it takes over time is drawn from the second recovery point on.</Text>
  const format = shown === 'sizes' ? bytes : shown === 'change' ? share : precise
  const known = series[shown].filter((one) => middleAndMost(one.values))
  const words = known.map((one) => {
    const of = middleAndMost(one.values)
    return `${one.label.toLowerCase()} usually ${format(of?.middle ?? 0)}, at most ${format(of?.most ?? 0)}`
  }).join('; ')
  return (
    <Stack gap="xs">
      <SegmentedControl aria-label="What is drawn" value={shown} onChange={(value) => setShown(value as Shown)} transitionDuration={0} size="xs"
        data={[{ value: 'sizes', label: 'Bytes' }, { value: 'change', label: 'Change' }, { value: 'still', label: 'Standing still' }]} />
      {known.length === 0 ? <Text size="sm">{shown === 'still' ? 'It never stood still: its points were taken while it was off, or without the guest’s help.' : 'Nothing is known of it.'}</Text> : (
        <>
          <TimeChart key={shown} label={`Of ${data.times.length} recovery points: ${words}`} times={data.times} series={known.length === series[shown].length ? series[shown] : known} format={format} binary={shown === 'sizes'} />
          <Text size="sm" className="dim">{words[0]?.toUpperCase()}{words.slice(1)}. Drag to look closer, click twice for all.</Text>
        </>
      )}
    </Stack>
  )
}
