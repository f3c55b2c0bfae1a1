// A chart of values over time, with zoom by dragging and the values beneath the pointer. Loaded with the first page that has one.
import 'uplot/dist/uPlot.min.css'
import { useComputedColorScheme } from '@mantine/core'
import { useEffect, useRef } from 'react'
import type uPlot from 'uplot'
import { useZone } from './preferences'

export interface ChartSeries {
  label: string
  /** One for each time; null: nothing is known. */
  values: (number | null)[]
  color: 'blue' | 'orange' | 'green' | 'violet'
}

// On both grounds at least 3 to 1.
const COLORS = { blue: '#3d85cc', orange: '#d9730d', green: '#2f9447', violet: '#8660d6' }
const HEIGHT_PX = 190
// Bytes are told in units of 1024: round ones are powers of two.
const BINARY_STEPS = Array.from({ length: 60 }, (_, power) => 2 ** power)

/** What an axis of time says, as fine as its steps are. */
function axisTime(seconds: number, stepSeconds: number, zone: 'local' | 'utc'): string {
  const parts: Intl.DateTimeFormatOptions = stepSeconds >= 86_400 ? { day: 'numeric', month: 'short' }
    : { hour: '2-digit', minute: '2-digit', hourCycle: 'h23', ...(stepSeconds < 60 ? { second: '2-digit' } : {}) }
  return new Intl.DateTimeFormat('en-GB', { ...parts, ...(zone === 'utc' ? { timeZone: 'UTC' } : {}) }).format(new Date(seconds * 1000))
}

/** `times` in seconds since 1970, rising; `binary`: the values are bytes. `label` says in words what is to be seen, for those who can't. */
export function TimeChart(props: { label: string; times: number[]; series: ChartSeries[]; format: (value: number) => string; binary?: boolean }) {
  const box = useRef<HTMLDivElement>(null)
  const zone = useZone()
  const scheme = useComputedColorScheme('light')
  const { times, series, format, binary } = props
  useEffect(() => {
    const element = box.current
    if (!element) return undefined
    let chart: uPlot | undefined
    let gone = false
    const sizer = new ResizeObserver(() => chart?.setSize({ width: element.clientWidth, height: HEIGHT_PX }))
    void import('uplot').then(({ default: Plot }) => {
      if (gone) return
      const style = getComputedStyle(element)
      const ink = style.getPropertyValue('--mantine-color-dimmed') || '#868e96'
      const grid = { stroke: style.getPropertyValue('--mantine-color-default-border') || '#dee2e6', width: 1 }
      const axis = { stroke: ink, grid, ticks: grid }
      chart = new Plot({
        width: element.clientWidth, height: HEIGHT_PX, tzDate: (at) => (zone === 'utc' ? Plot.tzDate(new Date(at * 1000), 'UTC') : new Date(at * 1000)),
        scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.08 : 1] } },
        axes: [{ ...axis, space: 70, values: (_, splits, __, ___, step) => splits.map((at) => axisTime(at, step, zone)) }, { ...axis, size: 78, ...(binary ? { incrs: BINARY_STEPS } : {}), values: (_, values) => values.map((value) => (value < 0 ? '' : format(value))) }],
        series: [
          { label: 'Time', value: '{YYYY}-{MM}-{DD} {HH}:{mm}' },
          ...series.map((one) => ({ label: one.label, stroke: COLORS[one.color], width: 2, points: { show: times.length < 80, size: 5 }, value: (_: uPlot, value: number | null) => (value === null ? '–' : format(value)) })),
        ],
      }, [times, ...series.map((one) => one.values)], element)
      sizer.observe(element)
    })
    return () => {
      gone = true
      sizer.disconnect()
      chart?.destroy()
    }
  }, [times, series, format, binary, zone, scheme])
  return <div className="chart" role="img" aria-label={props.label} ref={box} />
}
