// Recovery points that nobody removes because they are held, and those that are removed and can still come back.
import { Button, SegmentedControl, Table, Text } from '@mantine/core'
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { api, body, type RecoveryPoint } from '../api/client'
import { identityQuery } from '../api/queries'
import { everyPointQuery } from '../api/repository_queries'
import { bytes, idOf } from '../logic/format'
import { can } from '../logic/permissions'
import { Empty, Loaded, MachineLink, Panel, Problem, When } from '../ui/parts'

const SHOWS = [{ value: 'removed', label: 'Removed' }, { value: 'held', label: 'On hold' }, { value: 'locked', label: 'Locked' }]

function belongs(point: RecoveryPoint, show: string): boolean {
  if (show === 'removed') return point.deleteTime !== undefined
  if (show === 'held') return point.held === true
  return point.lockUntilTime !== undefined
}

export function HeldAndRemoved({ repository }: { repository: string }) {
  const [show, setShow] = useState('removed')
  const query = useInfiniteQuery(everyPointQuery)
  return (
    <Panel title="Removed, held and locked points" aside={<SegmentedControl size="xs" aria-label="Which points" value={show} onChange={setShow} data={SHOWS} transitionDuration={0} />}>
      <Loaded query={query}>
        {(data) => {
          const looked = data.pages.reduce((sum, page) => sum + (page.recoveryPoints ?? []).length, 0)
          const points = data.pages.flatMap((page) => page.recoveryPoints ?? []).filter((point) => point.repository === `repositories/${repository}` && belongs(point, show))
          return (
            <>
              {points.length === 0
                ? <Empty>{query.hasNextPage ? `None among the newest ${looked.toLocaleString('en-GB')} points.` : show === 'removed' ? 'Nothing is removed.' : show === 'held' ? 'Nothing is on hold. Hold a point on its machine’s page, so that neither people nor policies remove it.' : 'Nothing is locked.'}</Empty>
                : (
                  <div className="scroll">
                    <Table>
                      <Table.Thead><Table.Tr><Table.Th>Of</Table.Th><Table.Th>Point in time</Table.Th><Table.Th>Added</Table.Th><Table.Th>{show === 'removed' ? 'Removed by' : show === 'held' ? 'Held by' : 'Locked until'}</Table.Th><Table.Th>{show === 'removed' ? 'Can come back until' : 'Note'}</Table.Th><Table.Th>Actions</Table.Th></Table.Tr></Table.Thead>
                      <Table.Tbody>{points.slice(0, 200).map((point) => <PointRow key={point.name} point={point} show={show} />)}</Table.Tbody>
                    </Table>
                  </div>
                )}
              {points.length > 200 && <Text size="sm" className="dim">and {(points.length - 200).toLocaleString('en-GB')} more: the machines’ pages have them</Text>}
              {query.hasNextPage && <Button mt="xs" size="compact-sm" variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>Look among older points</Button>}
            </>
          )
        }}
      </Loaded>
    </Panel>
  )
}

function PointRow({ point, show }: { point: RecoveryPoint; show: string }) {
  const identity = useQuery(identityQuery)
  return (
    <Table.Tr>
      <Table.Td><MachineLink name={point.virtualMachine || point.fileSet || ''} known={point.virtualMachineDisplayName} /></Table.Td>
      <Table.Td><When value={point.pointTime} exact /></Table.Td>
      <Table.Td>{bytes(point.storedBytes)}</Table.Td>
      <Table.Td>{show === 'removed' ? point.deletedBy || 'somebody' : show === 'held' ? point.heldBy || 'somebody' : <When value={point.lockUntilTime} exact />}</Table.Td>
      <Table.Td>{show === 'removed' ? <When value={point.purgeTime} exact /> : point.holdNote}</Table.Td>
      <Table.Td>
        {show === 'removed' && can(identity.data, 'points.remove') && <PointButton point={point} verb="undelete" label="Bring back" />}
        {show === 'held' && can(identity.data, 'points.hold') && <PointButton point={point} verb="release" label="Release" />}
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
