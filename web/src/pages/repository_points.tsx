// Recovery points that nobody removes because they are held, and those that are removed and can still come back.
import { Button, SegmentedControl, Table } from '@mantine/core'
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { api, body, type RecoveryPoint } from '../api/client'
import { identityQuery } from '../api/queries'
import { keptPointsQuery, type PointKind } from '../api/repository_queries'
import { bytes, idOf } from '../logic/format'
import { can } from '../logic/permissions'
import { Empty, Loaded, MachineLink, Panel, Problem, When } from '../ui/parts'

const SHOWS: { value: PointKind; label: string; none: string }[] = [
  { value: 'FILTER_REMOVED', label: 'Removed', none: 'Nothing is removed.' },
  { value: 'FILTER_HELD', label: 'On hold', none: 'Nothing is on hold. Hold a point on its machine’s page, so that neither people nor policies remove it.' },
  { value: 'FILTER_LOCKED', label: 'Locked', none: 'Nothing is locked.' },
]

export function HeldAndRemoved({ repository }: { repository: string }) {
  const [show, setShow] = useState<PointKind>('FILTER_REMOVED')
  const query = useInfiniteQuery(keptPointsQuery(repository, show))
  const removed = show === 'FILTER_REMOVED'
  const held = show === 'FILTER_HELD'
  return (
    <Panel title="Removed, held and locked points" aside={<SegmentedControl size="xs" aria-label="Which points" value={show} onChange={(value) => setShow(value as PointKind)} data={SHOWS.map(({ value, label }) => ({ value, label }))} transitionDuration={0} />}>
      <Loaded query={query}>
        {(data) => {
          const points = data.pages.flatMap((page) => page.recoveryPoints ?? [])
          if (points.length === 0 && !query.hasNextPage) return <Empty>{SHOWS.find((one) => one.value === show)?.none}</Empty>
          return (
            <>
              <div className="scroll">
                <Table>
                  <Table.Thead><Table.Tr><Table.Th>Of</Table.Th><Table.Th>Point in time</Table.Th><Table.Th>Added</Table.Th><Table.Th>{removed ? 'Removed by' : held ? 'Held by' : 'Locked until'}</Table.Th><Table.Th>{removed ? 'Can come back until' : 'Note'}</Table.Th><Table.Th>Actions</Table.Th></Table.Tr></Table.Thead>
                  <Table.Tbody>{points.map((point) => <PointRow key={point.name} point={point} show={show} />)}</Table.Tbody>
                </Table>
              </div>
              {query.hasNextPage && <Button mt="xs" size="compact-sm" variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>Show older ones</Button>}
            </>
          )
        }}
      </Loaded>
    </Panel>
  )
}

function PointRow({ point, show }: { point: RecoveryPoint; show: PointKind }) {
  const removed = show === 'FILTER_REMOVED'
  const held = show === 'FILTER_HELD'
  const identity = useQuery(identityQuery)
  return (
    <Table.Tr>
      <Table.Td><MachineLink name={point.virtualMachine || point.fileSet || ''} known={point.virtualMachineDisplayName} /></Table.Td>
      <Table.Td><When value={point.pointTime} exact /></Table.Td>
      <Table.Td>{bytes(point.storedBytes)}</Table.Td>
      <Table.Td>{removed ? point.deletedBy || 'somebody' : held ? point.heldBy || 'somebody' : <When value={point.lockUntilTime} exact />}</Table.Td>
      <Table.Td>{removed ? <When value={point.purgeTime} exact /> : point.holdNote}</Table.Td>
      <Table.Td>
        {removed && can(identity.data, 'points.remove') && <PointButton point={point} verb="undelete" label="Bring back" />}
        {held && can(identity.data, 'points.hold') && <PointButton point={point} verb="release" label="Release" />}
      </Table.Td>
    </Table.Tr>
  )
}

function PointButton({ point, verb, label }: { point: RecoveryPoint; verb: 'undelete' | 'release'; label: string }) {
  const queries = useQueryClient()
  const change = useMutation({
    mutationFn: () => body<RecoveryPoint>(api.POST(`/v1/recoveryPoints/{recoveryPoint}:${verb}`, { params: { path: { recoveryPoint: idOf(point.name) } }, body: { requester: 'dashboard' } })),
    onSuccess: () => void queries.invalidateQueries({ queryKey: ['points'] }),
  })
  return (
    <>
      <Button size="compact-sm" variant="default" loading={change.isPending} onClick={() => change.mutate()}>{label}</Button>
      {change.error ? <Problem error={change.error} /> : null}
    </>
  )
}
