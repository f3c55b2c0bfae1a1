// A host: whether its agent works, its VSS writers, its labels, and taking it out of work.
import { Anchor, Button, Group, Stack, Table, Text, Textarea, TextInput } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { Link, useNavigate, useParams } from 'react-router'
import { api, body, type Host } from '../api/client'
import { hostQuery, identityQuery, writersQuery } from '../api/queries'
import { count, idOf, num } from '../logic/format'
import { hostStanding, labelWords } from '../logic/hosts'
import { labelChange, labelsOf, labelText } from '../logic/labels'
import { can, canEverywhere } from '../logic/permissions'
import { asVssadmin, writerError, writerState } from '../logic/writers'
import { waitAdvice } from '../ui/job_parts'
import { Confirm, Copyable, Dialog, Empty, Field, Loaded, Notice, Page, Panel, Problem, Tag, When } from '../ui/parts'
import { HostTag } from './hosts'

export default function HostPage() {
  const { host: id = '' } = useParams()
  const query = useQuery(hostQuery(id))
  const identity = useQuery(identityQuery)
  return (
    <Page title={query.data?.displayName || `Host ${id}`} actions={query.data && can(identity.data, 'hosts.manage') && <Actions host={query.data} />}>
      <Loaded query={query} rows={6}>
        {(host) => (
          <>
            <Trouble host={host} />
            <About host={host} />
            <Writers host={id} />
          </>
        )}
      </Loaded>
    </Page>
  )
}

/** What is wrong, and what to do about it. */
function Trouble({ host }: { host: Host }) {
  switch (hostStanding(host)) {
    case 'offline':
      return <Notice tone="bad" title="The agent is offline">Last seen <When value={host.lastSeenTime} exact />. {waitAdvice('HOST_OFFLINE')} Jobs of its machines wait.</Notice>
    case 'trouble':
      return host.agentProblem
        ? <Notice tone="bad" title="The agent gets no work">{host.agentProblem} {waitAdvice(host.agentProblemReason ?? '')}</Notice>
        : <Notice tone="bad" title="The hypervisor can’t be used">{host.hypervisorError} {waitAdvice('HYPERVISOR_UNAVAILABLE')}</Notice>
    case 'maintenance':
      return <Notice tone="warn" title="In maintenance">{host.drainNote ? `${host.drainNote}. ` : ''}{num(host.workingJobCount) > 0 ? `${count(num(host.workingJobCount), 'job')} on it ${num(host.workingJobCount) === 1 ? 'goes' : 'go'} on to the end.` : 'Nothing works on it: it can be restarted.'} New jobs wait until the maintenance ends.</Notice>
    default:
      return null
  }
}

function About({ host }: { host: Host }) {
  const identity = useQuery(identityQuery)
  const [edits, setEdits] = useState(false)
  return (
    <Panel title="Host" aside={<Group gap="xs"><HostTag host={host} />{canEverywhere(identity.data, 'hosts.manage') && <Button size="compact-sm" variant="default" onClick={() => setEdits(true)}>Change the labels</Button>}</Group>}>
      <dl className="fields">
        <Field label="Machines"><Anchor component={Link} to={`/machines?host=${idOf(host.name)}`}>{count(num(host.virtualMachineCount), 'machine')}</Anchor></Field>
        <Field label="Works on">{num(host.workingJobCount) > 0 ? count(num(host.workingJobCount), 'job') : 'nothing'}</Field>
        <Field label="Agent">umbra-agent {host.agentVersion}</Field>
        <Field label="Hypervisor">{host.hypervisor || '–'}</Field>
        <Field label="Last seen"><When value={host.lastSeenTime} exact /></Field>
        <Field label="Enrolled"><When value={host.createTime} exact /></Field>
        <Field label="Labels">{labelWords(host.labels) || 'none'}</Field>
        <Field label="Id">{idOf(host.name)}</Field>
      </dl>
      {edits && <LabelsDialog host={host} close={() => setEdits(false)} />}
    </Panel>
  )
}

function LabelsDialog({ host, close }: { host: Host; close: () => void }) {
  const queries = useQueryClient()
  const [text, setText] = useState(() => labelText(host.labels))
  const written = labelsOf(text)
  const change = written.labels && labelChange(host.labels, written.labels)
  const save = useMutation({
    mutationFn: () => body(api.POST('/v1/hosts/{host}:setLabels', { params: { path: { host: idOf(host.name) } }, body: { set: change?.set ?? {}, remove: change?.remove ?? [] } })),
    onSuccess: () => { close(); void queries.invalidateQueries({ queryKey: ['hosts'] }) },
  })
  return (
    <Dialog opened onClose={close} title={`Labels of ${host.displayName}`}>
      <Stack>
        <Text size="sm">They count for its machines too: policies, searches and grants can ask for them, such as label.env=test.</Text>
        <Textarea label="One key=value a line" rows={6} value={text} error={written.problem} onChange={(event) => setText(event.currentTarget.value)} data-autofocus />
        {change && change.remove.length > 0 && <Text size="sm" role="status">{change.remove.join(', ')} {change.remove.length === 1 ? 'is' : 'are'} taken away: policies and grants that ask for {change.remove.length === 1 ? 'it' : 'them'} don’t find this host any more.</Text>}
        {save.error ? <Problem error={save.error} /> : null}
        <Group justify="flex-end"><Button loading={save.isPending} disabled={change === undefined} onClick={() => save.mutate()}>Save the labels</Button></Group>
      </Stack>
    </Dialog>
  )
}

function Writers({ host }: { host: string }) {
  const query = useQuery(writersQuery(host))
  return (
    <Panel title="VSS writers">
      <Loaded query={query}>
        {(writers) => writers.length === 0 ? <Empty>The agent has reported no writer yet. It does so when it is connected and the hypervisor can be used.</Empty> : (
          <>
            <div className="scroll">
              <Table>
                <Table.Thead><Table.Tr><Table.Th>Writer</Table.Th><Table.Th>State</Table.Th><Table.Th>Last error</Table.Th><Table.Th>Components</Table.Th><Table.Th>Writer Id</Table.Th><Table.Th>Instance Id</Table.Th></Table.Tr></Table.Thead>
                <Table.Tbody>
                  {writers.map((writer) => {
                    const { text, tone } = writerState(writer)
                    return (
                      <Table.Tr key={writer.name}>
                        <Table.Td>{writer.displayName}</Table.Td><Table.Td><Tag tone={tone}>{text}</Tag></Table.Td><Table.Td>{writerError(writer)}</Table.Td>
                        <Table.Td>{num(writer.componentCount)}</Table.Td><Table.Td>{`{${writer.writerId}}`}</Table.Td><Table.Td>{`{${writer.instanceId}}`}</Table.Td>
                      </Table.Tr>
                    )
                  })}
                </Table.Tbody>
              </Table>
            </div>
            <details>
              <summary>As vssadmin list writers says it</summary>
              <Copyable label="the writers" text={asVssadmin(writers)} />
            </details>
          </>
        )}
      </Loaded>
    </Panel>
  )
}

function Actions({ host }: { host: Host }) {
  const queries = useQueryClient()
  const navigate = useNavigate()
  const [asks, setAsks] = useState<'' | 'drain' | 'remove'>('')
  const [note, setNote] = useState('')
  const path = { host: idOf(host.name) }
  const working = num(host.workingJobCount)
  const done = () => { setAsks(''); void queries.invalidateQueries({ queryKey: ['hosts'] }) }
  const drain = useMutation({ mutationFn: () => body(api.POST('/v1/hosts/{host}:drain', { params: { path }, body: { note } })), onSuccess: done })
  const undrain = useMutation({ mutationFn: () => body(api.POST('/v1/hosts/{host}:undrain', { params: { path }, body: {} })), onSuccess: done })
  const remove = useMutation({
    mutationFn: () => body(api.DELETE('/v1/hosts/{host}', { params: { path, query: working > 0 ? { force: true } : {} } })),
    onSuccess: () => { void navigate('/hosts'); void queries.invalidateQueries({ queryKey: ['hosts'] }) },
  })
  const machines = count(num(host.virtualMachineCount), 'machine')
  return (
    <>
      {host.drained
        ? <Button variant="default" loading={undrain.isPending} onClick={() => undrain.mutate()}>End maintenance</Button>
        : <Button variant="default" onClick={() => setAsks('drain')}>Maintenance</Button>}
      <Button variant="default" onClick={() => setAsks('remove')}>Remove</Button>
      {undrain.error ? <Problem error={undrain.error} /> : null}
      <Confirm opened={asks === 'drain'} danger={false} onClose={() => setAsks('')} title={`Take ${host.displayName} out of work?`} action="Begin maintenance" busy={drain.isPending} error={drain.error} onConfirm={() => drain.mutate()}>
        <Text>
          Nothing is lost: {working > 0 ? `${count(working, 'job')} on it ${working === 1 ? 'goes' : 'go'} on to the end` : 'it works on nothing now'}, new jobs of its {machines} wait until the maintenance ends.
          They get no new recovery points meanwhile.
        </Text>
        <TextInput label="Why, for others" maxLength={256} value={note} onChange={(event) => setNote(event.currentTarget.value)} />
      </Confirm>
      <Confirm opened={asks === 'remove'} onClose={() => setAsks('')} title={`Remove ${host.displayName}?`} action="Remove the host" busy={remove.isPending} error={remove.error} onConfirm={() => remove.mutate()}>
        {host.state === 'STATE_ONLINE' && <Notice tone="warn" title="Its agent is online">Take it into maintenance first if it is only to rest.</Notice>}
        <Text>
          {working > 0 && `${count(working, 'job')} that it works on ${working === 1 ? 'is' : 'are'} cancelled: no recovery point comes of ${working === 1 ? 'it' : 'them'}. `}
          Its certificate is revoked, so its agent can’t come back without being enrolled again. Its {machines} and the labels on them{labelWords(host.labels) && ` and on the host (${labelWords(host.labels)})`} disappear from the lists, jobs that wait for it are cancelled,
          policies that name it or its machines find nothing of it. All recovery points stay and can be restored to other hosts.
        </Text>
      </Confirm>
    </>
  )
}
