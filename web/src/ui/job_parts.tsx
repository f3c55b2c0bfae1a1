// How jobs look wherever they are shown.
import { Anchor, Group, Progress, Text } from '@mantine/core'
import reasons from 'virtual:reasons'
import { Link } from 'react-router'
import type { Job, JobMessage } from '../api/client'
import { bytes, duration, idOf, num, percent, rate } from '../logic/format'
import { etaSeconds, isFinal, KIND_WORDS, kindOf, stateOf } from '../logic/jobs'
import { MachineLink, Tag } from './parts'

/** What the job is about, with ways to it. */
export function JobSubject({ job }: { job: Job }) {
  const machines = job.backup?.virtualMachines ?? []
  const sets = job.backup?.fileSets ?? []
  if (job.backup) {
    return (
      <>
        {machines.slice(0, 3).map((machine, index) => <span key={machine}>{index > 0 && ', '}<MachineLink name={machine} /></span>)}
        {machines.length > 3 && ` and ${machines.length - 3} more`}
        {sets.length > 0 && `${machines.length > 0 ? ', ' : ''}${sets.map(idOf).join(', ')}`}
      </>
    )
  }
  if (job.restore) {
    if (job.restoredVirtualMachine) return <MachineLink name={job.restoredVirtualMachine} />
    return <>{job.restore.displayName || `point ${idOf(job.restore.recoveryPoint).slice(0, 8)}`}</>
  }
  return <>{idOf(job.verify?.repository ?? job.prune?.repository) || 'default repository'}</>
}

export function JobLink({ job }: { job: Job }) {
  return <Anchor component={Link} to={`/jobs/${idOf(job.name)}`}>{KIND_WORDS[kindOf(job)]}</Anchor>
}

export function JobTag({ job }: { job: Job }) {
  const { word, tone } = stateOf(job)
  return <Tag tone={tone}>{word}</Tag>
}

/** A bar with what is done, how fast, and how long yet. */
export function JobProgressBar({ job, label }: { job: Job; label: string }) {
  const done = num(job.progress?.doneBytes)
  const total = num(job.progress?.totalBytes)
  if (total === 0) return job.waitReason ? <Text size="sm" className="dim">{job.waitReason}</Text> : null
  const eta = etaSeconds(job)
  return (
    <div>
      <Progress value={percent(done, total)} aria-label={`Progress of ${label}`} transitionDuration={0} />
      <Group gap="md" justify="space-between">
        <Text size="xs" className="dim">{bytes(done)} of {bytes(total)} ({percent(done, total)} %)</Text>
        {!isFinal(job) && (
          <Text size="xs" className="dim">
            {rate(job.progress?.rateBytesPerSecond)}{eta !== undefined && `, ${duration(eta)} to go`}
          </Text>
        )}
      </Group>
    </div>
  )
}

/** A message of a job, with what its reason asks people to do. */
export function Advice({ message }: { message: JobMessage }) {
  const action = reasons[message.reason ?? '']
  return (
    <div>
      <Text size="sm" className="wrap">{message.message || message.reason}</Text>
      {action && <Text size="sm" className="wrap" mt={4}><b>What to do:</b> {action}</Text>}
      <Text size="xs" className="dim">{message.reason}</Text>
    </div>
  )
}

export function waitAdvice(reason: string): string {
  return reasons[reason] ?? ''
}
