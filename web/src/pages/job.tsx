// A job, live: where it is, how far each disk is, what went wrong and what to do about it.
import { Anchor, Button, Progress, Stack, Table, Text } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useEffect, useRef, useState } from 'react'
import { Link, useNavigate, useParams } from 'react-router'
import { api, body, type Job } from '../api/client'
import { eventsQuery, identityQuery, jobQuery, pointQuery } from '../api/queries'
import { useJobWatch } from '../live/use_live'
import { bytes, duration, enumWords, idOf, num, percent, rate, seconds, time } from '../logic/format'
import { cancelLoss, diskRates, elapsedSeconds, isFinal, KIND_WORDS, kindOf, phaseSteps } from '../logic/jobs'
import { can } from '../logic/permissions'
import { Advice, JobProgressBar, JobSubject, JobTag, waitAdvice } from '../ui/job_parts'
import { useNow } from '../ui/now'
import { Confirm, Empty, Field, Loaded, MachineLink, Notice, Page, Panel, Problem, Tag, When } from '../ui/parts'
import { useZone } from '../ui/preferences'

export default function JobPage() {
  const { job: id = '' } = useParams()
  const query = useQuery(jobQuery(id))
  useJobWatch(id, query.data)
  return (
    <Page title={`${query.data ? KIND_WORDS[kindOf(query.data)] : 'Job'} ${id.slice(0, 8)}`} actions={query.data && <Actions job={query.data} />}>
      <Loaded query={query} rows={8}>{(job) => <JobBody job={job} />}</Loaded>
      <EventLog resource={`jobs/${id}`} />
    </Page>
  )
}

function Actions({ job }: { job: Job }) {
  const identity = useQuery(identityQuery)
  const queries = useQueryClient()
  const navigate = useNavigate()
  const [asks, setAsks] = useState(false)
  const cancel = useMutation({
    mutationFn: () => body(api.POST('/v1/jobs/{job}:cancel', { params: { path: { job: idOf(job.name) } }, body: {} })),
    onSuccess: (now) => { queries.setQueryData(['job', idOf(job.name)], now); setAsks(false) },
  })
  const again = useMutation({
    mutationFn: () => body<Job>(api.POST('/v1/jobs', { body: specOf(job) })),
    onSuccess: (now) => navigate(`/jobs/${idOf(now.name)}`),
  })
  return (
    <>
      {!isFinal(job) && job.state !== 'STATE_CANCELLING' && can(identity.data, 'jobs.cancel') && <Button color="red" onClick={() => setAsks(true)}>Cancel</Button>}
      {(job.state === 'STATE_FAILED' || job.state === 'STATE_CANCELLED') && kindOf(job) === 'backup' && can(identity.data, 'backups.run') && (
        <Button loading={again.isPending} onClick={() => again.mutate()}>Try again</Button>
      )}
      {again.error ? <Problem error={again.error} /> : null}
      <Confirm opened={asks} onClose={() => setAsks(false)} title="Cancel this job?" action="Cancel the job" busy={cancel.isPending} error={cancel.error} onConfirm={() => cancel.mutate()}>
        <Text>{cancelLoss(job)}</Text>
      </Confirm>
    </>
  )
}

/** The same once more: what the caller of the first one said. */
function specOf(job: Job): Job {
  return { backup: job.backup, priority: job.priority, retry: job.retry, uploadBytesPerSecond: job.uploadBytesPerSecond }
}

function JobBody({ job }: { job: Job }) {
  const now = useNow(1000)
  return (
    <>
      {job.error && job.state === 'STATE_FAILED' && <Notice tone="bad" title="It failed" role="alert"><Advice message={job.error} /></Notice>}
      {job.lastAttemptError && !isFinal(job) && num(job.failedAttempts) > 0 && (
        <Notice tone="warn" title={`Attempt ${num(job.failedAttempts)} failed; the next one begins by itself`}>
          <Advice message={job.lastAttemptError} />
          {job.nextAttemptTime && <Text size="sm">Not before <When value={job.nextAttemptTime} exact />.</Text>}
        </Notice>
      )}
      {job.state === 'STATE_QUEUED' && job.waitReason && (
        <Notice tone="busy" title={`It waits: ${job.waitReason}`}>{waitAdvice(job.waitReason)}</Notice>
      )}
      {(job.warnings ?? []).map((warning, index) => (
        <Notice key={`${warning.reason}-${index}`} tone="warn" title="Warning"><Advice message={warning} /></Notice>
      ))}
      <Panel title="Progress" aside={<JobTag job={job} />}>
        <Stack gap="md">
          <Phases job={job} />
          <JobProgressBar job={job} label="the job" />
          <Facts job={job} now={now} />
        </Stack>
      </Panel>
      <Disks job={job} />
      <Outcome job={job} />
    </>
  )
}

function Phases({ job }: { job: Job }) {
  const steps = phaseSteps(job)
  if (steps.length === 0 || (isFinal(job) && !job.startTime)) return null
  const words = { done: 'done', now: 'now', ahead: 'to come', stopped: 'ended here' }
  return (
    <ol className="phases" aria-label="Phases">
      {steps.map((step) => <li key={step.label} className={step.standing} aria-current={step.standing === 'now' ? 'step' : undefined}>{step.label}<br /><small>{words[step.standing]}</small></li>)}
    </ol>
  )
}

function Facts({ job, now }: { job: Job; now: number }) {
  return (
    <dl className="fields">
      <Field label="Of"><JobSubject job={job} /></Field>
      <Field label="Wanted by">{job.policy ? <Anchor component={Link} to={`/policies?policy=${idOf(job.policy)}`}>{idOf(job.policy)}</Anchor> : 'a person'}</Field>
      <Field label="Created"><When value={job.createTime} exact /></Field>
      <Field label="Begun">{job.startTime ? <When value={job.startTime} exact /> : 'not yet'}</Field>
      {job.endTime && <Field label="Ended"><When value={job.endTime} exact /></Field>}
      <Field label={isFinal(job) ? 'Took' : 'Takes so far'}>{duration(elapsedSeconds(job, now))}</Field>
      {job.freezeDuration && <Field label="Guests were frozen for at most">{duration(seconds(job.freezeDuration))}</Field>}
      {job.downtime && <Field label="Machines stood still for at most">{duration(seconds(job.downtime))}</Field>}
      <Field label="Read">{bytes(job.progress?.readBytes)}</Field>
      {job.backup && <Field label="New to the repository">{bytes(job.progress?.newBytes)}, {bytes(job.progress?.storedBytes)} compressed</Field>}
      {num(job.attempt) > 1 && <Field label="Attempt">{job.attempt}</Field>}
    </dl>
  )
}

/** Rates of disks come from what they had done before: the last look that is at least a second old. */
function useDiskRates(job: Job): Map<string, number> {
  const last = useRef<{ job: Job; at: number } | undefined>(undefined)
  const [rates, setRates] = useState(new Map<string, number>())
  useEffect(() => {
    const at = performance.now()
    if (last.current && at - last.current.at < 1000) return
    if (last.current) setRates(diskRates(last.current.job, job, (at - last.current.at) / 1000))
    last.current = { job, at }
  }, [job])
  return rates
}

function Disks({ job }: { job: Job }) {
  const disks = job.progress?.disks ?? []
  const rates = useDiskRates(job)
  if (disks.length === 0) return null
  return (
    <Panel title="Disks">
      <div className="scroll">
        <Table>
          <Table.Thead><Table.Tr><Table.Th>Machine</Table.Th><Table.Th>Disk</Table.Th><Table.Th w="35%">Done</Table.Th><Table.Th>Rate</Table.Th><Table.Th>To go</Table.Th><Table.Th>How it is read</Table.Th></Table.Tr></Table.Thead>
          <Table.Tbody>
            {disks.map((disk) => {
              const key = `${disk.virtualMachine} ${disk.disk}`
              const done = num(disk.doneBytes)
              const total = num(disk.totalBytes)
              const perSecond = isFinal(job) ? 0 : (rates.get(key) ?? 0)
              return (
                <Table.Tr key={key}>
                  <Table.Td><MachineLink name={disk.virtualMachine ?? ''} /></Table.Td>
                  <Table.Td>{disk.disk}</Table.Td>
                  <Table.Td>
                    <Progress value={percent(done, total)} aria-label={`Progress of ${disk.disk}`} transitionDuration={0} />
                    <Text size="xs" className="dim">{bytes(done)} of {bytes(total)} ({percent(done, total)} %)</Text>
                  </Table.Td>
                  <Table.Td>{perSecond > 0 ? rate(perSecond) : '–'}</Table.Td>
                  <Table.Td>{perSecond > 0 && done < total ? duration((total - done) / perSecond) : '–'}</Table.Td>
                  <Table.Td title={disk.fullReadMessage}>
                    {disk.readMode === 'READ_MODE_INCREMENTAL' ? `only what changed: ${bytes(disk.changedBytes)}` : disk.readMode === 'READ_MODE_FULL' ? <>whole {disk.fullReadReason && <span className="dim">({disk.fullReadReason})</span>}</> : '–'}
                  </Table.Td>
                </Table.Tr>
              )
            })}
          </Table.Tbody>
        </Table>
      </div>
    </Panel>
  )
}

function Outcome({ job }: { job: Job }) {
  const points = job.recoveryPoints ?? []
  const damage = job.damage ?? []
  const pruned = job.pruneResult
  return (
    <>
      {points.length > 0 && (
        <Panel title="Recovery points">
          <Stack gap={4}>{points.map((point) => <PointLine key={point} point={point} />)}</Stack>
        </Panel>
      )}
      {job.restoredVirtualMachine && job.state === 'STATE_SUCCEEDED' && (
        <Panel title="The restored machine"><MachineLink name={job.restoredVirtualMachine} /></Panel>
      )}
      {damage.length > 0 && (
        <Panel title="Damage">
          {damage.slice(0, 200).map((chunk) => (
            <Text size="sm" key={`${chunk.chunkId}-${chunk.offsetBytes}`}>{idOf(chunk.recoveryPoint)} {chunk.disk}: {bytes(chunk.lengthBytes)} at {chunk.offsetBytes}: {chunk.message}</Text>
          ))}
        </Panel>
      )}
      {pruned && (
        <Panel title={job.prune?.dryRun ? 'What it would do' : 'What it did'}>
          <dl className="fields">
            <Field label="Recovery points deleted">{num(pruned.deletedPointCount)}</Field>
            <Field label="Given back">{bytes(num(pruned.freedBytes) - num(pruned.copiedBytes))}</Field>
            <Field label="Goes later">{bytes(pruned.waitingBytes)}</Field>
            <Field label="Still needed">{bytes(pruned.neededBytes)}</Field>
          </dl>
        </Panel>
      )}
    </>
  )
}

function PointLine({ point }: { point: string }) {
  const query = useQuery({ ...pointQuery(idOf(point)), staleTime: 60_000, retry: false })
  const zone = useZone()
  if (!query.data) return <Text size="sm">{idOf(point)}</Text>
  return (
    <Text size="sm">
      {query.data.virtualMachine ? <MachineLink name={query.data.virtualMachine} known={query.data.virtualMachineDisplayName} /> : query.data.virtualMachineDisplayName}, {time(query.data.pointTime, zone)},
      {' '}{enumWords(query.data.mechanism, 'BACKUP_MECHANISM_')}, {bytes(query.data.storedBytes)} stored.{' '}
      {query.data.virtualMachine && <Anchor component={Link} to={`/restore/${idOf(point)}`}>Restore</Anchor>}
    </Text>
  )
}

function EventLog({ resource }: { resource: string }) {
  const query = useQuery({ ...eventsQuery(resource), retry: false })
  const zone = useZone()
  const tones = { SEVERITY_ERROR: 'bad', SEVERITY_WARNING: 'warn', SEVERITY_INFO: 'idle', SEVERITY_UNSPECIFIED: 'idle' } as const
  return (
    <Panel title="What happened">
      <Loaded query={query}>
        {(events) => events.length === 0 ? <Empty>No event of it is kept any more.</Empty> : (
          <div className="scroll" role="log">
            <Table verticalSpacing={4}>
              <Table.Tbody>
                {events.map((event) => (
                  <Table.Tr key={event.sequence}>
                    <Table.Td className="clip" w="13rem">{time(event.time, zone)}</Table.Td>
                    <Table.Td w="6rem"><Tag tone={tones[event.severity ?? 'SEVERITY_UNSPECIFIED']}>{enumWords(event.severity, 'SEVERITY_') || 'info'}</Tag></Table.Td>
                    <Table.Td className="wrap">{event.message}</Table.Td>
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
