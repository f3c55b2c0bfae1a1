// A machine: what it is, how it is backed up and why so, what it can be restored from, and what can be done with it.
import { Anchor, Button, Checkbox, Group, NativeSelect, Stack, Table, Text, Textarea } from '@mantine/core'
import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { Link, useNavigate, useParams } from 'react-router'
import { api, body, type Job, type RecoveryPoint, type VirtualMachine } from '../api/client'
import { hostsQuery, identityQuery, machineQuery, pointsQuery, repositoriesQuery } from '../api/queries'
import { bytes, count, duration, enumWords, idOf, num, seconds, time } from '../logic/format'
import { can } from '../logic/permissions'
import { waitAdvice } from '../ui/job_parts'
import { Confirm, Dialog, Empty, Field, Loaded, Notice, Page, Panel, Problem, Tag, When } from '../ui/parts'
import { useZone } from '../ui/preferences'
import { MachineState } from './machines'

export default function Machine() {
  const { host = '', machine = '' } = useParams()
  const name = `hosts/${host}/virtualMachines/${machine}`
  const query = useQuery(machineQuery(host, machine))
  const identity = useQuery(identityQuery)
  const [backup, setBackup] = useState(false)
  return (
    <Page title={query.data?.displayName || idOf(name)}
      actions={can(identity.data, 'backups.run') && <Button onClick={() => setBackup(true)}>Back up now</Button>}>
      <Loaded query={query} rows={6}>{(data) => <About machine={data} host={host} />}</Loaded>
      <Points machine={name} />
      <BackupDialog machine={name} title={query.data?.displayName ?? ''} opened={backup} close={() => setBackup(false)} />
    </Page>
  )
}

function About({ machine, host }: { machine: VirtualMachine; host: string }) {
  const obstacles = machine.mechanismObstacles ?? []
  const hosts = useQuery({ ...hostsQuery, staleTime: 60_000, retry: false })
  const hostName = hosts.data?.find((known) => known.name === `hosts/${host}`)?.displayName
  return (
    <div className="grid">
      <Panel title="Machine" aside={<MachineState machine={machine} />}>
        <dl className="fields">
          <Field label="Host"><Anchor component={Link} to={`/machines?host=${host}`}>{hostName || host}</Anchor></Field>
          <Field label="Memory">{bytes(machine.memoryBytes)}</Field>
          <Field label="UUID">{machine.uuid}</Field>
          <Field label="Guest agent">{enumWords(machine.guestAgent?.state, 'STATE_') || 'unknown'} {machine.guestAgent?.version}</Field>
          <Field label="Last reported"><When value={machine.updateTime} /></Field>
          <Field label="Labels">{Object.entries(machine.labels ?? {}).map(([key, value]) => `${key}=${value}`).join(', ') || 'none'}</Field>
          {machine.clusterResource && <Field label="Failover cluster">{machine.clusterResource.resource}: {machine.clusterResource.state} on {machine.clusterResource.node}</Field>}
        </dl>
      </Panel>
      <Panel title="How it is backed up" aside={<Tag tone={obstacles.length > 0 ? 'warn' : 'good'}>{enumWords(machine.mechanism, 'BACKUP_MECHANISM_') || 'not decided'}</Tag>}>
        <Text size="sm">{machine.mechanismMessage}</Text>
        {obstacles.map((obstacle) => (
          <Text size="sm" mt="xs" key={obstacle.reason}>{obstacle.message} <span className="dim">({obstacle.reason})</span> {waitAdvice(obstacle.reason ?? '')}</Text>
        ))}
        {(machine.excludedDisks ?? []).map((disk) => (
          <Notice key={disk.name} tone="warn" title={`Disk ${disk.name} is not backed up`}>{disk.message}</Notice>
        ))}
      </Panel>
      <Panel title="Disks">
        <div className="scroll">
          <Table>
            <Table.Thead><Table.Tr><Table.Th>Disk</Table.Th><Table.Th>Size</Table.Th><Table.Th>On the host</Table.Th><Table.Th>Image</Table.Th></Table.Tr></Table.Thead>
            <Table.Tbody>
              {(machine.disks ?? []).map((disk) => (
                <Table.Tr key={disk.name}>
                  <Table.Td>{disk.name}</Table.Td><Table.Td>{bytes(disk.capacityBytes)}</Table.Td><Table.Td>{bytes(disk.allocatedBytes)}</Table.Td>
                  <Table.Td className="wrap">{disk.path} ({disk.format})</Table.Td>
                </Table.Tr>
              ))}
            </Table.Tbody>
          </Table>
        </div>
      </Panel>
      {machine.figures && (
        <Panel title="What its backups take">
          <dl className="fields">
            <Field label="Recovery points">{num(machine.figures.recoveryPointCount)}</Field>
            <Field label="They hold">{bytes(machine.figures.logicalBytes)}</Field>
            <Field label="They take">{bytes(machine.figures.storedBytes)}</Field>
            <Field label="Deduplication">{(machine.figures.dedupRatio ?? 0).toFixed(1)} times</Field>
            <Field label="Compression">{(machine.figures.compressionRatio ?? 0).toFixed(1)} times</Field>
          </dl>
        </Panel>
      )}
    </div>
  )
}

function Points({ machine }: { machine: string }) {
  const query = useInfiniteQuery(pointsQuery(machine))
  return (
    <Panel title="Recovery points">
      <Loaded query={query}>
        {(data) => {
          const points = data.pages.flatMap((page) => page.recoveryPoints ?? [])
          if (points.length === 0 && !query.hasNextPage) {
            return <Empty>There is none: this machine can’t be restored. Back it up now, or let a policy select it (umbra policy create --vm NAME).</Empty>
          }
          return (
            <>
              <SizeBars points={points.filter((point) => !point.deleteTime)} />
              <div className="scroll">
                <Table>
                  <Table.Thead>
                    <Table.Tr>
                      <Table.Th>Point in time</Table.Th><Table.Th>How</Table.Th><Table.Th>Stood still</Table.Th><Table.Th>Read</Table.Th><Table.Th>Stored</Table.Th><Table.Th>State</Table.Th><Table.Th>Actions</Table.Th>
                    </Table.Tr>
                  </Table.Thead>
                  <Table.Tbody>{points.map((point) => <PointRow key={point.name} point={point} />)}</Table.Tbody>
                </Table>
              </div>
              {query.hasNextPage && <Button mt="sm" variant="default" loading={query.isFetchingNextPage} onClick={() => void query.fetchNextPage()}>Show older ones</Button>}
            </>
          )
        }}
      </Loaded>
    </Panel>
  )
}

/** What each point added to the repository, oldest first: a machine that suddenly changes a lot stands out. */
function SizeBars({ points }: { points: RecoveryPoint[] }) {
  const zone = useZone()
  const shown = points.slice(0, 60).reverse()
  const most = Math.max(1, ...shown.map((point) => num(point.storedBytes)))
  if (shown.length < 2) return null
  return (
    <div className="bars" role="img" aria-label={`Stored bytes of the last ${shown.length} points, at most ${bytes(most)}; the table has each`}>
      {shown.map((point) => (
        <span key={point.name} style={{ height: `${(num(point.storedBytes) / most) * 100}%` }} title={`${time(point.pointTime, zone)}: ${bytes(point.storedBytes)}`} />
      ))}
    </div>
  )
}

function PointRow({ point }: { point: RecoveryPoint }) {
  const identity = useQuery(identityQuery)
  const [asks, setAsks] = useState<'' | 'remove' | 'hold'>('')
  const stood = seconds(point.downtime) ?? seconds(point.freezeDuration)
  const removed = point.deleteTime !== undefined
  return (
    <Table.Tr>
      <Table.Td><When value={point.pointTime} exact /></Table.Td>
      <Table.Td title={point.mechanismReason}>{enumWords(point.mechanism, 'BACKUP_MECHANISM_')}</Table.Td>
      <Table.Td>{duration(stood)}</Table.Td>
      <Table.Td>{bytes(point.readBytes)}</Table.Td>
      <Table.Td>{bytes(point.storedBytes)}</Table.Td>
      <Table.Td><PointState point={point} /></Table.Td>
      <Table.Td>
        <Group gap={4} wrap="nowrap">
          {!removed && can(identity.data, 'restores.run') && <Button size="compact-sm" component={Link} to={`/restore/${idOf(point.name)}`}>Restore</Button>}
          {!removed && can(identity.data, 'points.hold') && <HoldButton point={point} ask={() => setAsks('hold')} />}
          {!removed && !point.held && can(identity.data, 'points.remove') && <Button size="compact-sm" variant="default" onClick={() => setAsks('remove')}>Remove</Button>}
          {removed && can(identity.data, 'points.remove') && <UndeleteButton point={point} />}
        </Group>
        <RemoveDialog point={point} opened={asks === 'remove'} close={() => setAsks('')} />
        <HoldDialog point={point} opened={asks === 'hold'} close={() => setAsks('')} />
      </Table.Td>
    </Table.Tr>
  )
}

function PointState({ point }: { point: RecoveryPoint }) {
  const zone = useZone()
  if (point.deleteTime) return <span title={`by ${point.deletedBy || 'somebody'}`}><Tag tone="bad">Removed</Tag> until {time(point.purgeTime, zone)} it can come back</span>
  if (point.held) return <span title={point.holdNote}><Tag tone="busy">On hold</Tag> {point.holdNote}</span>
  if (point.lockUntilTime) return <><Tag tone="busy">Locked</Tag> until {time(point.lockUntilTime, zone)}</>
  return <Tag tone="good">Ready</Tag>
}

const WHO = 'dashboard'

function usePointChange(point: RecoveryPoint, change: (recoveryPoint: string) => Promise<unknown>, done?: () => void) {
  const queries = useQueryClient()
  return useMutation({
    mutationFn: () => change(idOf(point.name)),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ['points'] })
      done?.()
    },
  })
}

function HoldButton({ point, ask }: { point: RecoveryPoint; ask: () => void }) {
  const release = usePointChange(point, (recoveryPoint) =>
    body(api.POST('/v1/recoveryPoints/{recoveryPoint}:release', { params: { path: { recoveryPoint } }, body: { requester: WHO } })))
  if (!point.held) return <Button size="compact-sm" variant="default" onClick={ask}>Hold</Button>
  return <Button size="compact-sm" variant="default" loading={release.isPending} onClick={() => release.mutate()} title={release.error?.message}>{release.error ? 'Release failed: try again' : 'Release'}</Button>
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

function RemoveDialog({ point, opened, close }: { point: RecoveryPoint; opened: boolean; close: () => void }) {
  const zone = useZone()
  const remove = usePointChange(point, (recoveryPoint) =>
    body(api.DELETE('/v1/recoveryPoints/{recoveryPoint}', { params: { path: { recoveryPoint }, query: { requester: WHO } } })), close)
  return (
    <Confirm opened={opened} onClose={close} title="Remove this recovery point?" action="Remove it" busy={remove.isPending} error={remove.error} onConfirm={() => remove.mutate()}>
      <Text>
        {point.virtualMachineDisplayName} can then no longer be brought back to <b>{time(point.pointTime, zone)}</b>
        {' '}({count((point.disks ?? []).length, 'disk')}, {bytes(point.figures?.logicalBytes)} of data). Other recovery points of the machine stay whole.
      </Text>
      <Text>It is hidden at once and can be brought back until the repository’s undelete window is over; after that a prune deletes it for good.</Text>
    </Confirm>
  )
}

function HoldDialog({ point, opened, close }: { point: RecoveryPoint; opened: boolean; close: () => void }) {
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

function BackupDialog({ machine, title, opened, close }: { machine: string; title: string; opened: boolean; close: () => void }) {
  const navigate = useNavigate()
  const repositories = useQuery({ ...repositoriesQuery, enabled: opened, retry: false })
  const [repository, setRepository] = useState('')
  const [neverStop, setNeverStop] = useState(false)
  const [crashConsistent, setCrashConsistent] = useState(false)
  const [fullRead, setFullRead] = useState(false)
  // Pressed twice, or answered too late: still one job.
  const [requestId, setRequestId] = useState('')
  const open = () => setRequestId(crypto.randomUUID())
  const run = useMutation({
    mutationFn: () => body<Job>(api.POST('/v1/jobs', {
      params: { query: { requestId } },
      body: { backup: { virtualMachines: [machine], repository, forbidSavedState: neverStop, allowCrashConsistent: crashConsistent, fullRead } },
    })),
    onSuccess: (job) => navigate(`/jobs/${idOf(job.name)}`),
  })
  if (opened && requestId === '') open()
  const change = <T,>(set: (value: T) => void) => (value: T) => { set(value); open(); run.reset() }
  return (
    <Dialog opened={opened} onClose={close} title={`Back up ${title} now`}>
      <Stack>
        <NativeSelect label="Repository" value={repository} onChange={(event) => change(setRepository)(event.currentTarget.value)}
          data={[{ value: '', label: 'The default one' }, ...(repositories.data ?? []).map((known) => ({ value: known.name ?? '', label: `${idOf(known.name)} (${bytes(known.freeBytes)} free)` }))]} />
        <Checkbox label="The machine may not be stopped, not even for a moment" checked={neverStop} onChange={(event) => change(setNeverStop)(event.currentTarget.checked)} />
        <Checkbox label="Accept a point in time without the guest’s help, as after a power cut" checked={crashConsistent} onChange={(event) => change(setCrashConsistent)(event.currentTarget.checked)} />
        <Checkbox label="Read all disks whole, not only what changed" checked={fullRead} onChange={(event) => change(setFullRead)(event.currentTarget.checked)} />
        {run.error ? <Problem error={run.error} /> : null}
        <Group justify="flex-end"><Button loading={run.isPending} onClick={() => run.mutate()} data-autofocus>Back up</Button></Group>
      </Stack>
    </Dialog>
  )
}
