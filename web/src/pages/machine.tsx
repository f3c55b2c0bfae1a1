// A machine: what it is, how it is backed up and why so, what it can be restored from, and what can be done with it.
import { Anchor, Button, Checkbox, Group, NativeSelect, Stack, Table, Text, Textarea } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { Link, useNavigate, useParams } from 'react-router'
import { api, body, type Job, type VirtualMachine } from '../api/client'
import { hostsQuery, identityQuery, machineQuery, pointQuery, repositoriesQuery, selectingPoliciesQuery } from '../api/queries'
import { bytes, enumWords, idOf, num } from '../logic/format'
import { labelChange, labelsOf, labelText, type Labels } from '../logic/labels'
import { can } from '../logic/permissions'
import { EventLog } from '../ui/event_log'
import { waitAdvice } from '../ui/job_parts'
import { Dialog, Field, Loaded, Notice, Page, Panel, Problem, Tag, When } from '../ui/parts'
import { HealthTag } from '../ui/point_details'
import { Points } from '../ui/points'
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
      <Points machine={name} empty="There is none: this machine can’t be restored. Back it up now, or let a policy select it." />
      <EventLog resource={name} empty="Nothing of the machine itself is kept; what its backups said is with their jobs." />
      <BackupDialog machine={name} title={query.data?.displayName ?? ''} opened={backup} close={() => setBackup(false)} />
    </Page>
  )
}

function About({ machine, host }: { machine: VirtualMachine; host: string }) {
  const obstacles = machine.mechanismObstacles ?? []
  const identity = useQuery(identityQuery)
  const [labels, setLabels] = useState(false)
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
          <Field label="Labels">
            {Object.entries(machine.labels ?? {}).map(([key, value]) => `${key}=${value}`).join(', ') || 'none'}{' '}
            {can(identity.data, 'vms.manage') && <Button size="compact-xs" variant="default" onClick={() => setLabels(true)}>Change the labels</Button>}
          </Field>
          {(machine.checkpoints ?? []).length > 0 && <Field label="Own checkpoints">{(machine.checkpoints ?? []).map((checkpoint) => checkpoint.name).join(', ')}</Field>}
          {machine.clusterResource && <Field label="Failover cluster">{machine.clusterResource.resource}: {machine.clusterResource.state} on {machine.clusterResource.node}</Field>}
        </dl>
        {labels && <LabelsDialog machine={machine} host={host} opened close={() => setLabels(false)} />}
      </Panel>
      <Panel title="Can it be restored?"><NewestHealth machine={machine} /></Panel>
      <Panel title="How it is backed up" aside={<Tag tone={obstacles.length > 0 ? 'warn' : 'good'}>{enumWords(machine.mechanism, 'BACKUP_MECHANISM_') || 'not decided'}</Tag>}>
        <Text size="sm">{machine.mechanismMessage}</Text>
        {obstacles.map((obstacle) => (
          <Text size="sm" mt="xs" key={obstacle.reason}>{obstacle.message} <span className="dim">({obstacle.reason})</span> {waitAdvice(obstacle.reason ?? '')}</Text>
        ))}
        {(machine.excludedDisks ?? []).map((disk) => (
          <Notice key={disk.name} tone="warn" title={`Disk ${disk.name} is not backed up`}>{disk.message}</Notice>
        ))}
      </Panel>
      {can(identity.data, 'policies.view') && <Policies machine={machine} />}
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

function Policies({ machine }: { machine: VirtualMachine }) {
  const query = useQuery(selectingPoliciesQuery(machine.name ?? ''))
  return (
    <Panel title="Policies that select it" aside={query.data && <Tag tone={query.data.length > 0 ? 'good' : 'warn'}>{query.data.length > 0 ? query.data.length : 'none'}</Tag>}>
      <Loaded query={query}>
        {(policies) => policies.length === 0
          ? <Text size="sm">No policy selects it: it is backed up only when somebody asks for it. <Anchor component={Link} to="/policies">See the policies</Anchor>.</Text>
          : (
            <div className="scroll">
              <Table>
                <Table.Thead><Table.Tr><Table.Th>Policy</Table.Th><Table.Th>When</Table.Th><Table.Th>Next run</Table.Th></Table.Tr></Table.Thead>
                <Table.Tbody>
                  {policies.map((policy) => (
                    <Table.Tr key={policy.name}>
                      <Table.Td><Anchor component={Link} to={`/policies?policy=${idOf(policy.name)}`}>{idOf(policy.name)}</Anchor></Table.Td>
                      <Table.Td>{(policy.schedules ?? []).join(', ') || 'only when asked to run'}</Table.Td>
                      <Table.Td>{policy.paused ? <Tag tone="warn">Paused</Tag> : policy.nextRunTime ? <When value={policy.nextRunTime} exact /> : 'none'}</Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            </div>
          )}
      </Loaded>
    </Panel>
  )
}

/** Whether the newest point is good, and when somebody last made sure of it. */
function NewestHealth({ machine }: { machine: VirtualMachine }) {
  const newest = useQuery({ ...pointQuery(idOf(machine.lastRecoveryPoint)), retry: false })
  if (!machine.lastRecoveryPoint) return <Text size="sm">There is no recovery point: it can’t be restored.</Text>
  if (!newest.data) return <Text size="sm" className="dim">The newest point is looked at…</Text>
  return (
    <dl className="fields">
      <Field label="Newest recovery point"><When value={newest.data.pointTime} exact /></Field>
      <Field label="Its health"><HealthTag point={newest.data} /></Field>
      <Field label="Read back as a whole"><When value={newest.data.verifyTime} /></Field>
    </dl>
  )
}

function LabelsDialog({ machine, host, opened, close }: { machine: VirtualMachine; host: string; opened: boolean; close: () => void }) {
  const queries = useQueryClient()
  const [text, setText] = useState(() => labelText(machine.labels))
  const written = labelsOf(text)
  const save = useMutation({
    mutationFn: (labels: Labels) => body(api.POST('/v1/hosts/{host}/virtualMachines/{virtualMachine}:setLabels', {
      params: { path: { host, virtualMachine: idOf(machine.name) } }, body: labelChange(machine.labels, labels),
    })),
    onSuccess: (now) => {
      queries.setQueryData(['machine', host, idOf(machine.name)], (before: VirtualMachine | undefined) => ({ ...before, ...now }))
      void queries.invalidateQueries({ queryKey: ['machine'] })
      void queries.invalidateQueries({ queryKey: ['policies', 'of'] })
      close()
    },
  })
  return (
    <Dialog opened={opened} onClose={close} title={`Labels of ${machine.displayName}`}>
      <Stack>
        <Text size="sm">Policies and searches can select by them: label.env=prod. A policy that selects by a label takes the machine in, or leaves it out, from its next run on.</Text>
        <Textarea label="One key=value a line" autosize={false} rows={6} value={text} error={written.problem} onChange={(event) => setText(event.currentTarget.value)} data-autofocus />
        {save.error ? <Problem error={save.error} /> : null}
        <Group justify="flex-end"><Button disabled={!written.labels} loading={save.isPending} onClick={() => written.labels && save.mutate(written.labels)}>Save the labels</Button></Group>
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
