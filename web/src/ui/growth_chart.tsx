// Days of a repository as a picture: what is stored, what the recovery points hold, and where the growth leads. The same figures are a table.
import { Table } from '@mantine/core'
import { useMemo } from 'react'
import type { Repository } from '../api/client'
import { bytes } from '../logic/format'
import { chartOf, dayPoints } from '../logic/growth'
import { TimeChart, type ChartSeries } from './time_chart'

export default function GrowthChart({ repository }: { repository: Repository }) {
  const points = dayPoints(repository.days ?? [])
  const { times, stored, held, ahead } = useMemo(() => chartOf(repository), [repository])
  const series = useMemo<ChartSeries[]>(() => [
    { label: 'recovery points hold', values: held, color: 'green' },
    { label: 'stored', values: stored, color: 'blue' },
    ...(ahead ? [{ label: 'at this growth', values: ahead, color: 'orange' as const }] : []),
  ], [stored, held, ahead])
  const first = points[0]
  const last = points.at(-1)
  if (!first || !last || points.length < 2) return null
  return (
    <div>
      <TimeChart times={times} series={series} format={bytes}
        label={`From ${first.date} to ${last.date}: stored ${bytes(first.stored)} to ${bytes(last.stored)}, recovery points hold ${bytes(first.held)} to ${bytes(last.held)}. The table below has each day.`} />
      <details>
        <summary>Each day as a table</summary>
        <div className="scroll">
          <Table>
            <Table.Thead><Table.Tr><Table.Th>Day (UTC)</Table.Th><Table.Th>Stored</Table.Th><Table.Th>Grew by</Table.Th><Table.Th>Points hold</Table.Th><Table.Th>Points</Table.Th></Table.Tr></Table.Thead>
            <Table.Tbody>
              {[...points].reverse().map((point) => (
                <Table.Tr key={point.date}>
                  <Table.Td>{point.date}</Table.Td><Table.Td>{bytes(point.stored)}</Table.Td><Table.Td>{point.growth === undefined ? '–' : bytes(point.growth)}</Table.Td>
                  <Table.Td>{bytes(point.held)}</Table.Td><Table.Td>{point.points}</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </div>
      </details>
    </div>
  )
}
