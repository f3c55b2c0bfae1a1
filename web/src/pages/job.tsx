// A job, live: where it is, how far each disk is, what went wrong and what to do about it.
import { Anchor, Button, Progress, Stack, Table, Text } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { Fragment, useEffect, useRef, useState, type ReactNode } from 'react'
import { Link, useNavigate, useParams } from 'react-router'
import { api, body, type Job } from '../api/client'
import { identityQuery, jobQuery, pointQuery } from '../api/queries'
import { useJobWatch } from '../live/use_live'
import { bytes, clock, count, duration, enumWords, idOf, num, percent, rate, seconds, time } from '../logic/format'
import { cancelLoss, diskRates, elapsedSeconds, isFinal, KIND_WORDS, kindOf, phaseSteps } from '../logic/jobs'
import { can } from '../logic/permissions'
import { againLoses, freezeWindow, machineProgress, phaseBars, precise, specOf, writerBars, type MachineProgress, type PhaseBar } from '../logic/phases'
import { EventLog } from '../ui/event_log'
import { Advice, JobProgressBar, JobSubject, JobTag, waitAdvice } from '../ui/job_parts'
import { useNow } from '../ui/now'
import { Confirm, Field, Loaded, MachineLink, Notice, Page, Panel, Problem, When } from '../ui/parts'
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
  const [asks, setAsks] = useState<'' | 'cancel' | 'again'>('')
  // Pressed twice, or answered too late: still one job.
  const [requestId] = useState(() => crypto.randomUUID())
  const cancel = useMutation({
    mutationFn: () => body(api.POST('/v1/jobs/{job}:cancel', { params: { path: { job: idOf(job.name) } }, body: {} })),
    onSuccess: (now) => { queries.setQueryData(['job', idOf(job.name)], now); setAsks('') },
  })
  const again = useMutation({
    mutationFn: () => body<Job>(api.POST('/v1/jobs', { params: { query: { requestId } }, body: specOf(job) })),
    onSuccess: (now) => { setAsks(''); navigate(`/jobs/${idOf(now.name)}`) },
  })
  const kind = kindOf(job)
  const mayRepeat = can(identity.data, kind === 'backup' ? 'backups.run' : kind === 'restore' ? 'restores.run' : 'maintenance.run')
  const loses = againLoses(job)
  return (
    <>
      {!isFinal(job) && job.state !== 'STATE_CANCELLING' && can(identity.data, 'jobs.cancel') && <Button color="red" onClick={() => setAsks('cancel')}>Cancel</Button>}
      {(job.state === 'STATE_FAILED' || job.state === 'STATE_CANCELLED') && mayRepeat && (
        <Button loading={again.isPending} onClick={() => (loses ? setAsks('again') : again.mutate())}>Try again</Button>
      )}
      {again.error && asks === '' ? <Problem error={again.error} /> : null}
      <Confirm opened={asks === 'cancel'} onClose={() => setAsks('')} title="Cancel this job?" action="Cancel the job" busy={cancel.isPending} error={cancel.error} onConfirm={() => cancel.mutate()}>
        <Text>{cancelLoss(job)}</Text>
      </Confirm>
      <Confirm opened={asks === 'again'} onClose={() => setAsks('')} title="Restore once more?" action="Restore again" busy={again.isPending} error={again.error} onConfirm={() => again.mutate()}>
        <Text>
          {job.restore?.overwrite ? `What is in ${job.restore.targetFolder} now is lost when everything is restored.`
            : 'The original machine is turned off, as far as it is there, and replaced by its state of the recovery point: what was written to its disks since then is lost.'}
        </Text>
        <Text>To see it in full, or to choose another way, <Anchor component={Link} to={`/restore/${idOf(job.restore?.recoveryPoint)}`}>go through the restore again</Anchor>.</Text>
      </Confirm>
    </>
  )
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
          <Phases job={job} now={now} />
          <JobProgressBar job={job} label="the job" />
          <Facts job={job} now={now} />
        </Stack>
      </Panel>
      <Disks job={job} />
      <Outcome job={job} />
    </>
  )
}

const STANDING_WORDS = { done: 'done', now: 'now', ahead: 'to come', stopped: 'ended here' }

function Phases({ job, now }: { job: Job; now: number }) {
  const steps = phaseSteps(job)
  const bars = phaseBars(job, now)
  if (steps.length === 0 || (isFinal(job) && !job.startTime)) return null
  return (
    <>
      <ol className="phases" aria-label="Phases">
        {steps.map((step) => <li key={step.label} className={step.standing} aria-current={step.standing === 'now' ? 'step' : undefined}>{step.label}<br /><small>{STANDING_WORDS[step.standing]}</small></li>)}
      </ol>
      {bars.length > 0 && <Timeline bars={bars} />}
      <Freeze job={job} />
      <Writers job={job} />
    </>
  )
}

/** Each phase from its beginning to its end, on one line of time. */
function Timeline({ bars }: { bars: PhaseBar[] }) {
  const zone = useZone()
  return (
    <div className="scroll">
      <table className="timeline" aria-label="Phases in time">
        <thead><tr><th>Phase</th><th>Begun</th><th>Took</th><th className="timeline-line">In time</th></tr></thead>
        <tbody>
          {bars.map((bar, index) => (
            <tr key={`${bar.start}-${index}`}>
              <th scope="row">{bar.label}</th>
              <td>{clock(bar.start, zone)}</td>
              <td>{bar.seconds === undefined ? 'goes on' : precise(bar.seconds)}</td>
              <td className="timeline-line" aria-hidden="true"><span className={bar.still ? 'timeline-bar timeline-still' : 'timeline-bar'} style={{ marginLeft: `${bar.left * 100}%`, width: `${bar.width * 100}%` }} /></td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

/** The freeze window, to the millisecond, beside what was allowed. */
function Freeze({ job }: { job: Job }) {
  const freeze = freezeWindow(job)
  const stood = seconds(job.downtime)
  if (!freeze && !stood) return null
  return (
    <div className="freeze">
      {freeze && (
        <>
          <Text size="sm">Guests were frozen for at most <b>{precise(freeze.seconds)}</b> of {precise(freeze.limitSeconds)} allowed.</Text>
          <div className="freeze-line" role="img" aria-label={`${Math.round(freeze.share * 100)} % of the time that a freeze may take`}><span style={{ width: `${freeze.share * 100}%` }} /></div>
        </>
      )}
      {stood ? <Text size="sm">Machines stood still for at most <b>{precise(stood)}</b>, while their memory was saved.</Text> : null}
    </div>
  )
}

/** Who was told what when, from the first freeze to the last thaw. */
function Writers({ job }: { job: Job }) {
  const zone = useZone()
  const bars = writerBars(job)
  if (bars.length === 0) return null
  const took = (seconds: number | undefined) => (seconds === undefined ? 'not known' : precise(seconds))
  return (
    <div className="scroll">
      <table className="timeline" aria-label="The freeze window, writer by writer">
        <thead><tr><th>Writer</th><th>Where</th><th>Told to freeze</th><th>Froze in</th><th>Stood still</th><th>Thawed in</th><th className="timeline-line timeline-narrow">In time</th></tr></thead>
        <tbody>
          {bars.map((bar, index) => (
            <tr key={`${bar.machine}-${bar.name}-${index}`}>
              <th scope="row">{bar.name}{bar.error && <div className="wrap timeline-error">Failed: {bar.error.message || bar.error.reason}</div>}</th>
              <td>{bar.machine ? <>guest of <MachineLink name={bar.machine} /></> : 'host'}</td>
              <td>{clock(bar.start, zone)}</td>
              <td>{took(bar.freezing)}</td>
              <td>{took(bar.still)}</td>
              <td>{took(bar.thawing)}</td>
              <td className="timeline-line timeline-narrow" aria-hidden="true">
                <span className="timeline-writer" style={{ marginLeft: `${bar.left * 100}%` }}>
                  {bar.widths.map((width, part) => <span key={part} className={part === 1 ? 'timeline-still' : 'timeline-turning'} style={{ width: `${(width / Math.max(0.001, 1 - bar.left)) * 100}%` }} />)}
                </span>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
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
  const rates = useDiskRates(job)
  const machines = machineProgress(job, rates)
  const several = machines.length > 1
  if (machines.length === 0) return null
  return (
    <Panel title={several ? 'Machines and disks' : 'Disks'}>
      <div className="scroll">
        <Table>
          <Table.Thead><Table.Tr><Table.Th>Machine</Table.Th><Table.Th>Disk</Table.Th><Table.Th w="35%">Done</Table.Th><Table.Th>Rate</Table.Th><Table.Th>To go</Table.Th><Table.Th>How it is read</Table.Th></Table.Tr></Table.Thead>
          <Table.Tbody>
            {machines.map((machine) => (
              <Fragment key={machine.machine}>
                {several && (
                  <ProgressRow first={<MachineLink name={machine.machine} />} name={`all disks of ${idOf(machine.machine)}`} disk={count(machine.disks.length, 'disk')} done={machine.done} total={machine.total}
                    perSecond={isFinal(job) ? 0 : machine.rate} />
                )}
                {machine.disks.map((disk) => (
                  <ProgressRow key={disk.disk} first={several ? null : <MachineLink name={machine.machine} />} name={disk.disk ?? ''} disk={disk.disk} done={num(disk.doneBytes)} total={num(disk.totalBytes)}
                    perSecond={isFinal(job) ? 0 : (rates.get(`${machine.machine} ${disk.disk}`) ?? 0)} title={disk.fullReadMessage} how={<HowRead disk={disk} />} />
                ))}
              </Fragment>
            ))}
          </Table.Tbody>
        </Table>
      </div>
    </Panel>
  )
}

function HowRead({ disk }: { disk: MachineProgress['disks'][number] }) {
  if (disk.readMode === 'READ_MODE_INCREMENTAL') return <>only what changed: {bytes(disk.changedBytes)}</>
  if (disk.readMode === 'READ_MODE_FULL') return <>whole {disk.fullReadReason && <span className="dim">({disk.fullReadReason})</span>}</>
  return <>–</>
}

function ProgressRow(props: { first: ReactNode; name: string; disk: ReactNode; done: number; total: number; perSecond: number; how?: ReactNode; title?: string }) {
  const { done, total, perSecond } = props
  return (
    <Table.Tr>
      <Table.Td>{props.first}</Table.Td>
      <Table.Td>{props.disk}</Table.Td>
      <Table.Td>
        <Progress value={percent(done, total)} aria-label={`Progress of ${props.name}`} transitionDuration={0} />
        <Text size="xs" className="dim">{bytes(done)} of {bytes(total)} ({percent(done, total)} %)</Text>
      </Table.Td>
      <Table.Td>{perSecond > 0 ? rate(perSecond) : '–'}</Table.Td>
      <Table.Td>{perSecond > 0 && done < total ? duration((total - done) / perSecond) : '–'}</Table.Td>
      <Table.Td title={props.title}>{props.how}</Table.Td>
    </Table.Tr>
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
      <Anchor component={Link} to={`/restore/${idOf(point)}`}>Restore</Anchor>
    </Text>
  )
}
