// Recovery points of a machine or a file set: on a calendar, over time, and one by one, with what can be done with each.
import { Button, Group, Stack, Table, Text, Textarea, TextInput } from '@mantine/core'
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useMemo, useState } from 'react'
import { Link } from 'react-router'
import { api, body, type RecoveryPoint } from '../api/client'
import { fileSetPointsQuery, identityQuery, pointsQuery } from '../api/queries'
import { bytes, count, duration, enumWords, idOf, seconds, time } from '../logic/format'
import { dayOf } from '../logic/history'
import { can } from '../logic/permissions'
import { Confirm, Dialog, Empty, Loaded, Panel, Problem, Tag, When } from './parts'
import { PointCalendar } from './point_calendar'
import { PointCharts } from './point_charts'
import { PointDetails } from './point_details'
import { useZone } from './preferences'
import { useFilters } from './use_filters'

const ROWS = 30

export function Points({ machine, fileSet, empty }: { machine?: string; fileSet?: string; empty: string }) {
  const query = useInfiniteQuery(fileSet ? fileSetPointsQuery(fileSet) : pointsQuery(machine ?? ''))
  const points = useMemo(() => query.data?.pages.flatMap((page) => page.recoveryPoints ?? []) ?? [], [query.data])
  const [params, set] = useFilters()
  const open = (id: string) => set('point', id)
  return (
    <>
      <Panel title="Recovery points">
        <Loaded query={query}>
          {() => points.length === 0 && !query.hasNextPage ? <Empty>{empty}</Empty> : (
            <History points={points} open={open} more={query.hasNextPage ? () => void query.fetchNextPage() : undefined} loading={query.isFetchingNextPage} />
          )}
        </Loaded>
      </Panel>
      <PointDetails id={params.get('point') ?? ''} close={() => open('')} />
    </>
  )
}

function History({ points, open, more, loading }: { points: RecoveryPoint[]; open: (id: string) => void; more?: () => void; loading: boolean }) {
  const zone = useZone()
  const newest = points[0]?.pointTime ?? new Date().toISOString()
  const [month, setMonth] = useState(() => dayOf(newest, zone).slice(0, 7))
  const [day, setDay] = useState('')
  const [rows, setRows] = useState(ROWS)
  const listed = day === '' ? points : points.filter((point) => dayOf(point.pointTime ?? '', zone) === day)
  const oldest = points.at(-1)?.pointTime
  return (
    <Stack>
      <div className="history">
        <PointCalendar points={points} month={month} setMonth={setMonth} chosen={day} choose={setDay} />
        <PointCharts points={points} />
      </div>
      {more && oldest && month <= dayOf(oldest, zone).slice(0, 7) && <Text size="sm">Points before {time(oldest, zone)} aren’t loaded yet: show older ones.</Text>}
      <Group justify="space-between">
        <Text size="sm" role="status">{day === '' ? `${count(points.length, 'recovery point')}${more ? ' loaded so far' : ''}` : `${count(listed.length, 'recovery point')} of ${day}`}</Text>
        {day !== '' && <Button size="compact-sm" variant="default" onClick={() => setDay('')}>Show all days</Button>}
      </Group>
      <div className="scroll">
        <Table>
          <Table.Thead>
            <Table.Tr>
              <Table.Th>Point in time</Table.Th><Table.Th>How</Table.Th><Table.Th>Stood still</Table.Th><Table.Th>Read</Table.Th><Table.Th>Stored</Table.Th><Table.Th>State</Table.Th><Table.Th>Actions</Table.Th>
            </Table.Tr>
          </Table.Thead>
          <Table.Tbody>{listed.slice(0, rows).map((point) => <PointRow key={point.name} point={point} open={() => open(idOf(point.name))} />)}</Table.Tbody>
        </Table>
      </div>
      {listed.length > rows ? <Group><Button variant="default" onClick={() => setRows(rows + ROWS)}>Show further ones</Button></Group>
        : more && day === '' && <Group><Button variant="default" loading={loading} onClick={more}>Show older ones</Button></Group>}
    </Stack>
  )
}

function PointRow({ point, open }: { point: RecoveryPoint; open: () => void }) {
  const identity = useQuery(identityQuery)
  const [asks, setAsks] = useState<'' | 'remove' | 'hold' | 'release' | 'lock'>('')
  const stood = seconds(point.downtime) ?? seconds(point.freezeDuration)
  const removed = point.deleteTime !== undefined
  const mayHold = !removed && can(identity.data, 'points.hold')
  const mayRemove = can(identity.data, 'points.remove')
  const close = () => setAsks('')
  return (
    <Table.Tr>
      <Table.Td><When value={point.pointTime} exact /></Table.Td>
      <Table.Td title={point.mechanismReason}>{enumWords(point.mechanism, 'BACKUP_MECHANISM_') || 'files'}</Table.Td>
      <Table.Td>{duration(stood)}</Table.Td>
      <Table.Td>{bytes(point.readBytes)}</Table.Td>
      <Table.Td>{bytes(point.storedBytes)}</Table.Td>
      <Table.Td><PointState point={point} /></Table.Td>
      <Table.Td>
        <Group gap={4} wrap="nowrap">
          {!removed && can(identity.data, 'restores.run') && <Button size="compact-sm" component={Link} to={`/restore/${idOf(point.name)}`}>Restore</Button>}
          <Button size="compact-sm" variant="default" onClick={open}>Details</Button>
          {mayHold && !point.held && <Button size="compact-sm" variant="default" onClick={() => setAsks('hold')}>Hold</Button>}
          {mayHold && point.held && <Button size="compact-sm" variant="default" onClick={() => setAsks('release')}>Release</Button>}
          {mayHold && <Button size="compact-sm" variant="default" onClick={() => setAsks('lock')}>Lock</Button>}
          {!removed && !point.held && !point.lockUntilTime && mayRemove && <Button size="compact-sm" variant="default" onClick={() => setAsks('remove')}>Remove</Button>}
          {removed && mayRemove && <UndeleteButton point={point} />}
        </Group>
        <RemoveDialog point={point} opened={asks === 'remove'} close={close} />
        <HoldDialog point={point} opened={asks === 'hold'} close={close} />
        <ReleaseDialog point={point} opened={asks === 'release'} close={close} />
        <LockDialog point={point} opened={asks === 'lock'} close={close} />
      </Table.Td>
    </Table.Tr>
  )
}

function PointState({ point }: { point: RecoveryPoint }) {
  const zone = useZone()
  if (point.deleteTime) return <span title={`by ${point.deletedBy || 'somebody'}`}><Tag tone="bad">Removed</Tag> until {time(point.purgeTime, zone)} it can come back</span>
  return (
    <>
      {point.held && <span title={`by ${point.heldBy || 'somebody'}`}><Tag tone="busy">On hold</Tag> {point.holdNote} </span>}
      {point.lockUntilTime && <><Tag tone="busy">Locked</Tag> until {time(point.lockUntilTime, zone)}</>}
      {!point.held && !point.lockUntilTime && <Tag tone="good">Ready</Tag>}
    </>
  )
}

const WHO = 'dashboard'

function usePointChange(point: RecoveryPoint, change: (recoveryPoint: string) => Promise<unknown>, done?: () => void) {
  const queries = useQueryClient()
  return useMutation({
    mutationFn: () => change(idOf(point.name)),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ['points'] })
      void queries.invalidateQueries({ queryKey: ['point', idOf(point.name)] })
      done?.()
    },
  })
}

interface Asks {
  point: RecoveryPoint
  opened: boolean
  close: () => void
}

function UndeleteButton({ point }: { point: RecoveryPoint }) {
  const undelete = usePointChange(point, (recoveryPoint) =>
    body(api.POST('/v1/recoveryPoints/{recoveryPoint}:undelete', { params: { path: { recoveryPoint } }, body: { requester: WHO } })))
  return (
    <>
      <Button size="compact-sm" variant="default" loading={undelete.isPending} onClick={() => undelete.mutate()}>Bring back</Button>
      {undelete.error ? <Problem error={undelete.error} /> : null}
    </>
  )
}

function RemoveDialog({ point, opened, close }: Asks) {
  const zone = useZone()
  const remove = usePointChange(point, (recoveryPoint) =>
    body(api.DELETE('/v1/recoveryPoints/{recoveryPoint}', { params: { path: { recoveryPoint }, query: { requester: WHO } } })), close)
  return (
    <Confirm opened={opened} onClose={close} title="Remove this recovery point?" action="Remove it" busy={remove.isPending} error={remove.error} onConfirm={() => remove.mutate()}>
      <Text>
        {point.virtualMachineDisplayName} can then no longer be brought back to <b>{time(point.pointTime, zone)}</b>
        {' '}({point.fileSet ? 'files' : count((point.disks ?? []).length, 'disk')}, {bytes(point.figures?.logicalBytes)} of data). Its other recovery points stay whole.
      </Text>
      <Text>It is hidden at once and can be brought back until the repository’s undelete window is over; after that a prune deletes it for good.</Text>
    </Confirm>
  )
}

function ReleaseDialog({ point, opened, close }: Asks) {
  const zone = useZone()
  const release = usePointChange(point, (recoveryPoint) =>
    body(api.POST('/v1/recoveryPoints/{recoveryPoint}:release', { params: { path: { recoveryPoint } }, body: { requester: WHO } })), close)
  return (
    <Confirm opened={opened} danger={false} onClose={close} title="Release this recovery point?" action="Release it" busy={release.isPending} error={release.error} onConfirm={() => release.mutate()}>
      <Text>{point.heldBy || 'Somebody'} holds it{point.holdNote && <>: <b>{point.holdNote}</b></>}. After that people may remove it, and policies remove it as soon as no rule keeps {time(point.pointTime, zone)} any more, which may be at once.</Text>
    </Confirm>
  )
}

function HoldDialog({ point, opened, close }: Asks) {
  const [note, setNote] = useState('')
  const hold = usePointChange(point, (recoveryPoint) =>
    body(api.POST('/v1/recoveryPoints/{recoveryPoint}:hold', { params: { path: { recoveryPoint } }, body: { requester: WHO, note } })), close)
  return (
    <Dialog opened={opened} onClose={close} title="Hold this recovery point">
      <Stack>
        <Text>Neither people nor policies remove it until it is released.</Text>
        <Textarea label="Why, for others" value={note} onChange={(event) => setNote(event.currentTarget.value)} data-autofocus />
        {hold.error ? <Problem error={hold.error} /> : null}
        <Group justify="flex-end"><Button loading={hold.isPending} onClick={() => hold.mutate()}>Hold it</Button></Group>
      </Stack>
    </Dialog>
  )
}

/** The day is meant as a whole, in the browser's zone. */
function endOfDay(day: string): Date {
  return new Date(`${day}T23:59:59`)
}

function LockDialog({ point, opened, close }: Asks) {
  const zone = useZone()
  const [day, setDay] = useState('')
  const until = endOfDay(day)
  const good = !Number.isNaN(until.getTime()) && until.getTime() > Math.max(Date.now(), new Date(point.lockUntilTime ?? 0).getTime())
  const lock = usePointChange(point, (recoveryPoint) =>
    body(api.POST('/v1/recoveryPoints/{recoveryPoint}:lock', { params: { path: { recoveryPoint } }, body: { requester: WHO, untilTime: until.toISOString() } })), close)
  return (
    <Confirm opened={opened} onClose={close} title="Lock this recovery point?" action="Lock it" busy={lock.isPending} error={lock.error} disabled={!good} onConfirm={() => lock.mutate()}>
      <Text><b>Nobody can take a lock back</b>, administrators included: until then the point can’t be removed, and its space ({bytes(point.storedBytes)} and what it shares with others) can’t be given back.</Text>
      {point.lockUntilTime && <Text>It is locked until {time(point.lockUntilTime, zone)} already: a lock can only be made longer.</Text>}
      <TextInput type="date" label="Until the end of" value={day} onChange={(event) => setDay(event.currentTarget.value)} error={day !== '' && !good ? 'A day that is still to come, and later than the present lock.' : undefined} />
    </Confirm>
  )
}
