import { Anchor, Button, Group, Stack, Table, Text } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { Link, useNavigate, useSearchParams } from 'react-router'
import { api, body, type Policy } from '../api/client'
import { identityQuery, policiesQuery, previewQuery, scheduleQuery } from '../api/queries'
import { count, duration, idOf, num, seconds, time } from '../logic/format'
import { can } from '../logic/permissions'
import { retentionWords, selectionWords } from '../logic/policies'
import { scheduleWords } from '../logic/schedule'
import { Confirm, Empty, Field, Loaded, MachineLink, Notice, Page, Panel, Problem, Tag, When } from '../ui/parts'
import { useNow } from '../ui/now'
import { useZone } from '../ui/preferences'
import { RetentionPicture } from '../ui/retention_picture'

export default function Policies() {
  const [params] = useSearchParams()
  const query = useQuery(policiesQuery)
  const identity = useQuery(identityQuery)
  const chosen = params.get('policy') ?? ''
  return (
    <Page title="Policies" actions={can(identity.data, 'policies.manage') && <Button component={Link} to="/policies/new">New policy</Button>}>
      <Loaded query={query} rows={5}>
        {(policies) => {
          if (policies.length === 0) return <Empty>No policy yet: nothing is backed up by itself. Make one with “New policy”: it says what is backed up when, and how long that is kept.</Empty>
          const policy = policies.find((known) => idOf(known.name) === chosen)
          return (
            <>
              <div className="scroll">
                <Table>
                  <Table.Thead><Table.Tr><Table.Th>Policy</Table.Th><Table.Th>When</Table.Th><Table.Th>Next run</Table.Th><Table.Th>Last run</Table.Th><Table.Th>Selects</Table.Th><Table.Th>State</Table.Th></Table.Tr></Table.Thead>
                  <Table.Tbody>
                    {policies.map((known) => (
                      <Table.Tr key={known.name} aria-current={known === policy || undefined}>
                        <Table.Td><Anchor component={Link} to={`/policies?policy=${idOf(known.name)}`}>{idOf(known.name)}</Anchor></Table.Td>
                        <Table.Td>{(known.schedules ?? []).map(scheduleWords).join('; ') || 'only when asked'}<Text size="xs" className="dim">{known.timeZone || 'UTC'}</Text></Table.Td>
                        <Table.Td>{known.nextRunTime ? <When value={known.nextRunTime} exact /> : '–'}</Table.Td>
                        <Table.Td><When value={known.lastRunTime} /></Table.Td>
                        <Table.Td>{selectionWords(known.selection)}</Table.Td>
                        <Table.Td>{known.paused ? <Tag tone="warn">Paused</Tag> : <Tag tone="good">Active</Tag>}</Table.Td>
                      </Table.Tr>
                    ))}
                  </Table.Tbody>
                </Table>
              </div>
              {policy && <PolicyPanel key={policy.name} policy={policy} />}
              {chosen && !policy && <Notice tone="warn" title={`There is no policy ${chosen}`}>It may have been deleted. Its recovery points stay.</Notice>}
            </>
          )
        }}
      </Loaded>
    </Page>
  )
}

function PolicyPanel({ policy }: { policy: Policy }) {
  const id = idOf(policy.name)
  const schedule = useQuery(scheduleQuery(id))
  const identity = useQuery(identityQuery)
  return (
    <Panel title={id} aside={<PolicyActions policy={policy} />}>
      <Stack>
        {policy.description && <Text>{policy.description}</Text>}
        <dl className="fields">
          <Field label="Keeps">{retentionWords(policy.retention)}</Field>
          <Field label="Promised age">{policy.rpo ? duration(seconds(policy.rpo)) : 'none'}</Field>
          <Field label="Windows">{(policy.windows ?? []).join('; ') || 'always'}</Field>
          <Field label="Closed">{(policy.closed ?? []).join('; ') || 'never'}</Field>
          <Field label="Repository">{idOf(policy.repository) || 'the default one'}</Field>
          <Field label="Each job is">{policy.grouping === 'GROUPING_HOST' ? 'a whole host, all or none' : 'one machine'}</Field>
          <Field label="Further attempts">{num(policy.retry?.maxRetries)}</Field>
          <Field label="Jobs"><Anchor component={Link} to={`/jobs?policy=policies/${id}`}>Those that it started</Anchor></Field>
        </dl>
        <Loaded query={schedule}>
          {(preview) => (
            <div className="grid">
              <div>
                <Text fw={600}>Next runs</Text>
                {(preview.runs ?? []).length === 0 ? <Empty>None in the next 30 days.</Empty> : (
                  <ol>{(preview.runs ?? []).slice(0, 10).map((run) => (
                    <li key={run.dueTime}><When value={run.startTime ?? run.dueTime} exact />{run.notAfter && <span className="dim">, its jobs begin until <Until value={run.notAfter} /></span>}</li>
                  ))}</ol>
                )}
              </div>
              <div>
                <Text fw={600}>Selects {count(num(preview.memberCount), 'machine or file set', 'machines and file sets')} now, {count(num(preview.jobCount), 'job')} each run</Text>
                <Text size="sm">
                  {(preview.members ?? []).slice(0, 30).map((member, index) => <span key={member}>{index > 0 && ', '}<MachineLink name={member} /></span>)}
                  {num(preview.memberCount) > 30 && ` and ${(num(preview.memberCount) - 30).toLocaleString('en-GB')} more`}
                </Text>
              </div>
            </div>
          )}
        </Loaded>
        {can(identity.data, 'policies.manage') && <Kept policy={policy} />}
      </Stack>
    </Panel>
  )
}

/** What its retention keeps, as a picture. */
function Kept({ policy }: { policy: Policy }) {
  const now = useNow(60_000)
  const preview = useQuery(previewQuery(policy))
  if (!preview.data) return null
  return (
    <div>
      <Text fw={600}>What a machine would have by now, had it always run</Text>
      <RetentionPicture points={preview.data.expectedPoints ?? []} now={now} />
    </div>
  )
}

function Until({ value }: { value: string }) {
  return <>{time(value, useZone())}</>
}

function PolicyActions({ policy }: { policy: Policy }) {
  const identity = useQuery(identityQuery)
  const queries = useQueryClient()
  const navigate = useNavigate()
  const [asks, setAsks] = useState(false)
  const [deletes, setDeletes] = useState(false)
  const schedule = useQuery({ ...scheduleQuery(idOf(policy.name)), enabled: deletes, retry: false })
  const path = { params: { path: { policy: idOf(policy.name) } } }
  const done = () => { setAsks(false); void queries.invalidateQueries({ queryKey: ['policies'] }) }
  const run = useMutation({ mutationFn: () => body(api.POST('/v1/policies/{policy}:run', { ...path, body: { requestId: crypto.randomUUID() } })), onSuccess: done })
  const pause = useMutation({ mutationFn: () => body(api.POST('/v1/policies/{policy}:pause', { ...path, body: {} })), onSuccess: done })
  const resume = useMutation({ mutationFn: () => body(api.POST('/v1/policies/{policy}:resume', { ...path, body: {} })), onSuccess: done })
  // What is asked about is what is deleted: one that was changed meanwhile is refused.
  const remove = useMutation({
    mutationFn: () => body(api.DELETE('/v1/policies/{policy}', { params: { ...path.params, query: { etag: policy.etag } } })),
    onSuccess: () => { void queries.invalidateQueries({ queryKey: ['policies'] }); navigate('/policies') },
  })
  const error = run.error ?? resume.error
  return (
    <Group gap="xs">
      {run.data && <Text size="sm" role="status">{count(num(run.data.jobCount), 'job')} started</Text>}
      {can(identity.data, 'policies.run') && <Button size="compact-sm" loading={run.isPending} onClick={() => run.mutate()}>Run now</Button>}
      {can(identity.data, 'policies.manage') && (policy.paused
        ? <Button size="compact-sm" variant="default" loading={resume.isPending} onClick={() => resume.mutate()}>Resume</Button>
        : <Button size="compact-sm" variant="default" onClick={() => setAsks(true)}>Pause</Button>)}
      {can(identity.data, 'policies.manage') && (
        <>
          <Button size="compact-sm" variant="default" component={Link} to={`/policies/${idOf(policy.name)}/edit`}>Change</Button>
          <Button size="compact-sm" variant="default" onClick={() => setDeletes(true)}>Delete</Button>
        </>
      )}
      {error ? <Problem error={error} /> : null}
      <Confirm opened={deletes} onClose={() => { setDeletes(false); remove.reset() }} title={`Delete ${idOf(policy.name)}?`} action="Delete it" busy={remove.isPending} error={remove.error} onConfirm={() => remove.mutate()}>
        <Text>
          {schedule.data ? `It selects ${count(num(schedule.data.memberCount), 'machine or file set', 'machines and file sets')} now` : 'What it selects'}: those that no other policy selects get no new recovery points by themselves,
          and nothing promises them any.
        </Text>
        <Text>All recovery points stay, and its rules thin them no longer: they take their space until somebody removes them. Jobs that it started go on. Its settings are gone for good.</Text>
      </Confirm>
      <Confirm opened={asks} danger={false} onClose={() => setAsks(false)} title={`Pause ${idOf(policy.name)}?`} action="Pause it" busy={pause.isPending} error={pause.error} onConfirm={() => pause.mutate()}>
        <Text>Its machines get no new recovery points until it is resumed, and what is due meanwhile is not made up for. Recovery points stay, and its retention goes on.</Text>
      </Confirm>
    </Group>
  )
}
