import { Anchor, Button, Group, NativeSelect, Stack, Table, Text, TextInput } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { Link, useSearchParams } from 'react-router'
import { api, body, type Host } from '../api/client'
import { hostsQuery, identityQuery } from '../api/queries'
import { count, idOf, num, time } from '../logic/format'
import { enrolCommand } from '../logic/enrol'
import { can } from '../logic/permissions'
import { waitAdvice } from '../ui/job_parts'
import { Confirm, Copyable, Dialog, Empty, Loaded, Notice, Page, Problem, Tag, When } from '../ui/parts'
import { useZone } from '../ui/preferences'

export default function Hosts() {
  const hosts = useQuery(hostsQuery)
  const identity = useQuery(identityQuery)
  const [params, setParams] = useSearchParams()
  const mayEnrol = can(identity.data, 'hosts.enrol')
  const enrol = params.get('enrol') === '1' && mayEnrol
  return (
    <Page title="Hosts" actions={mayEnrol && <Button onClick={() => setParams({ enrol: '1' })}>Enrol a host</Button>}>
      <Loaded query={hosts} rows={5}>
        {(all) => all.length === 0 ? <Empty>No host yet. Enrol one: the dialog gives the command to run on it.</Empty> : (
          <div className="scroll">
            <Table>
              <Table.Thead><Table.Tr><Table.Th>Host</Table.Th><Table.Th>State</Table.Th><Table.Th>Machines</Table.Th><Table.Th>Works on</Table.Th><Table.Th>Agent</Table.Th><Table.Th>Hypervisor</Table.Th><Table.Th>Last seen</Table.Th><Table.Th>Actions</Table.Th></Table.Tr></Table.Thead>
              <Table.Tbody>{all.map((host) => <HostRow key={host.name} host={host} />)}</Table.Tbody>
            </Table>
          </div>
        )}
      </Loaded>
      {enrol && <EnrolDialog close={() => setParams({})} />}
    </Page>
  )
}

function HostState({ host }: { host: Host }) {
  if (host.state !== 'STATE_ONLINE') return <><Tag tone="bad">Offline</Tag><Text size="xs" className="dim">{waitAdvice('HOST_OFFLINE')}</Text></>
  if (host.agentProblem) return <><Tag tone="bad">Gets no work</Tag><Text size="xs">{host.agentProblem}</Text></>
  if (host.hypervisorError) return <><Tag tone="bad">Hypervisor</Tag><Text size="xs">{host.hypervisorError}</Text></>
  if (host.drained) return <><Tag tone="warn">In maintenance</Tag><Text size="xs" className="dim">{host.drainNote}</Text></>
  return <Tag tone="good">Online</Tag>
}

function HostRow({ host }: { host: Host }) {
  const identity = useQuery(identityQuery)
  return (
    <Table.Tr>
      <Table.Td><Anchor component={Link} to={`/machines?host=${idOf(host.name)}`}>{host.displayName}</Anchor></Table.Td>
      <Table.Td><HostState host={host} /></Table.Td>
      <Table.Td>{num(host.virtualMachineCount)}</Table.Td>
      <Table.Td>{num(host.workingJobCount) > 0 ? count(num(host.workingJobCount), 'job') : '–'}</Table.Td>
      <Table.Td>{host.agentVersion}</Table.Td>
      <Table.Td>{host.hypervisor}</Table.Td>
      <Table.Td><When value={host.lastSeenTime} /></Table.Td>
      <Table.Td>{can(identity.data, 'hosts.manage') && <HostActions host={host} />}</Table.Td>
    </Table.Tr>
  )
}

function HostActions({ host }: { host: Host }) {
  const queries = useQueryClient()
  const [asks, setAsks] = useState<'' | 'drain' | 'remove'>('')
  const [note, setNote] = useState('')
  const path = { params: { path: { host: idOf(host.name) } } }
  const done = () => { setAsks(''); void queries.invalidateQueries({ queryKey: ['hosts'] }) }
  const drain = useMutation({ mutationFn: () => body(api.POST('/v1/hosts/{host}:drain', { ...path, body: { note } })), onSuccess: done })
  const undrain = useMutation({ mutationFn: () => body(api.POST('/v1/hosts/{host}:undrain', { ...path, body: {} })), onSuccess: done })
  const remove = useMutation({ mutationFn: () => body(api.DELETE('/v1/hosts/{host}', path)), onSuccess: done })
  return (
    <Group gap={4} wrap="nowrap">
      {host.drained
        ? <Button size="compact-sm" variant="default" loading={undrain.isPending} onClick={() => undrain.mutate()}>End maintenance</Button>
        : <Button size="compact-sm" variant="default" onClick={() => setAsks('drain')}>Maintenance</Button>}
      {host.state !== 'STATE_ONLINE' && <Button size="compact-sm" variant="default" onClick={() => setAsks('remove')}>Remove</Button>}
      {undrain.error ? <Problem error={undrain.error} /> : null}
      <Confirm opened={asks === 'drain'} danger={false} onClose={() => setAsks('')} title={`Take ${host.displayName} out of work?`} action="Begin maintenance" busy={drain.isPending} error={drain.error} onConfirm={() => drain.mutate()}>
        <Text>
          Nothing is lost: {num(host.workingJobCount) > 0 ? `${count(num(host.workingJobCount), 'job')} on it ${num(host.workingJobCount) === 1 ? 'goes' : 'go'} on to the end` : 'it works on nothing now'}, new jobs of its {count(num(host.virtualMachineCount), 'machine')} wait until the maintenance ends.
          They get no new recovery points meanwhile.
        </Text>
        <TextInput label="Why, for others" maxLength={256} value={note} onChange={(event) => setNote(event.currentTarget.value)} />
      </Confirm>
      <Confirm opened={asks === 'remove'} onClose={() => setAsks('')} title={`Remove ${host.displayName}?`} action="Remove the host" busy={remove.isPending} error={remove.error} onConfirm={() => remove.mutate()}>
        <Text>
          Its certificate is revoked, so its agent can’t come back without being enrolled again. Its {count(num(host.virtualMachineCount), 'machine')} and the labels on them disappear from the lists, jobs that wait for it are cancelled.
          All recovery points stay and can be restored to other hosts.
        </Text>
      </Confirm>
    </Group>
  )
}

const HOUR = 3600

function EnrolDialog({ close }: { close: () => void }) {
  const zone = useZone()
  const [pattern, setPattern] = useState('')
  const [ttl, setTtl] = useState(HOUR)
  const make = useMutation({
    mutationFn: () => body(api.POST('/v1/hosts:createEnrolmentToken', { body: { hostPattern: pattern, ttl: `${ttl}s` } })),
    gcTime: 0,
  })
  return (
    <Dialog opened onClose={close} title="Enrol a host">
      <Stack>
        {make.data ? (
          <>
            <Text>Install umbra-agent on the host, then run there as root:</Text>
            <Copyable label="the command" text={enrolCommand(make.data.token ?? '', make.data.enrolmentAddress ?? '', window.location.hostname)} />
            <Text size="sm">The token is for one host, until {time(make.data.expireTime, zone)}, and is shown only now. The host appears in the list by itself.</Text>
            <Group justify="flex-end"><Button onClick={close}>Done</Button></Group>
          </>
        ) : (
          <>
            <TextInput label="Host name" description="A pattern that the host’s name must match, such as hv-3 or hv-*; empty: any" value={pattern} onChange={(event) => setPattern(event.currentTarget.value)} data-autofocus />
            {pattern === '' && <Notice tone="warn">Without a name whoever has the token may enrol any host, also in place of one of the same name.</Notice>}
            <NativeSelect label="The token may be used for" value={String(ttl)} onChange={(event) => setTtl(Number(event.currentTarget.value))}
              data={[{ value: String(HOUR), label: 'one hour' }, { value: String(24 * HOUR), label: 'a day' }, { value: String(7 * 24 * HOUR), label: 'a week' }]} />
            {make.error ? <Problem error={make.error} /> : null}
            <Group justify="flex-end"><Button loading={make.isPending} onClick={() => make.mutate()}>Make the command</Button></Group>
          </>
        )}
      </Stack>
    </Dialog>
  )
}
