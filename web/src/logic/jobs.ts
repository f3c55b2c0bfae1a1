// What a job is and how far it is, in words and shares.
import type { Job } from '../api/client'
import { num, seconds } from './format'

export type Kind = 'backup' | 'restore' | 'verify' | 'prune'
export type Tone = 'good' | 'warn' | 'bad' | 'busy' | 'idle'

const FINAL = new Set(['STATE_SUCCEEDED', 'STATE_FAILED', 'STATE_CANCELLED'])

export function isFinal(job: Job): boolean {
  return FINAL.has(job.state ?? '')
}

export function kindOf(job: Job): Kind {
  if (job.restore) return 'restore'
  if (job.verify) return 'verify'
  return job.prune ? 'prune' : 'backup'
}

export const KIND_WORDS: Record<Kind, string> = { backup: 'Backup', restore: 'Restore', verify: 'Verification', prune: 'Prune' }

/** The state in a word, and how it is to be coloured. A success with warnings is one that somebody should look at. */
export function stateOf(job: Job): { word: string; tone: Tone } {
  switch (job.state) {
    case 'STATE_QUEUED':
      return num(job.failedAttempts) > 0 ? { word: 'Waits to try again', tone: 'warn' } : { word: 'Waits', tone: 'idle' }
    case 'STATE_DISPATCHING': return { word: 'Begins', tone: 'busy' }
    case 'STATE_RUNNING': return { word: 'Runs', tone: 'busy' }
    case 'STATE_COMMITTING': return { word: 'Is being recorded', tone: 'busy' }
    case 'STATE_CANCELLING': return { word: 'Is being cancelled', tone: 'warn' }
    case 'STATE_SUCCEEDED':
      return (job.warnings ?? []).length > 0 ? { word: 'Done, with warnings', tone: 'warn' } : { word: 'Done', tone: 'good' }
    case 'STATE_FAILED': return { word: 'Failed', tone: 'bad' }
    case 'STATE_CANCELLED': return { word: 'Cancelled', tone: 'idle' }
    default: return { word: 'Unknown', tone: 'idle' }
  }
}

export const PHASES = [
  { phase: 'PHASE_GATHERING', backup: 'Gather', restore: 'Gather' },
  { phase: 'PHASE_PREPARING', backup: 'Prepare', restore: 'Prepare' },
  { phase: 'PHASE_FREEZING', backup: 'Freeze', restore: '' },
  { phase: 'PHASE_SNAPSHOT', backup: 'Point in time', restore: '' },
  { phase: 'PHASE_TRANSFERRING', backup: 'Transfer', restore: 'Transfer' },
  { phase: 'PHASE_COMPLETING', backup: 'Complete', restore: 'Complete' },
] as const

export interface PhaseStep {
  label: string
  standing: 'done' | 'now' | 'ahead' | 'stopped'
}

/** The phases that this kind of job goes through; none for the daemon's own work, which has none. */
export function phaseSteps(job: Job): PhaseStep[] {
  const kind = kindOf(job)
  if (kind !== 'backup' && kind !== 'restore') return []
  const steps = PHASES.filter((step) => step[kind] !== '')
  const at = steps.findIndex((step) => step.phase === job.phase)
  const succeeded = job.state === 'STATE_SUCCEEDED' || job.state === 'STATE_COMMITTING'
  return steps.map((step, index) => {
    if (succeeded || index < at) return { label: step[kind], standing: 'done' }
    if (index > at) return { label: step[kind], standing: 'ahead' }
    return { label: step[kind], standing: isFinal(job) ? 'stopped' : 'now' }
  })
}

/** Seconds to the end: what the agent says, else the rest at the present rate; undefined when neither is known. */
export function etaSeconds(job: Job): number | undefined {
  if (isFinal(job) || !job.progress) return undefined
  const said = seconds(job.progress.eta)
  if (said !== undefined) return said
  const perSecond = num(job.progress.rateBytesPerSecond)
  const rest = num(job.progress.totalBytes) - num(job.progress.doneBytes)
  return perSecond > 0 && rest > 0 ? rest / perSecond : undefined
}

/** How long it took, or takes so far; undefined before it began. */
export function elapsedSeconds(job: Job, now: number): number | undefined {
  if (!job.startTime) return undefined
  const end = job.endTime ? new Date(job.endTime).getTime() : now
  return Math.max(0, (end - new Date(job.startTime).getTime()) / 1000)
}

/** Rates of single disks, which the API doesn't tell, from two looks at the job. */
export function diskRates(before: Job | undefined, after: Job, passedSeconds: number): Map<string, number> {
  const rates = new Map<string, number>()
  if (!before || passedSeconds <= 0) return rates
  const was = new Map((before.progress?.disks ?? []).map((disk) => [`${disk.virtualMachine} ${disk.disk}`, num(disk.doneBytes)]))
  for (const disk of after.progress?.disks ?? []) {
    const key = `${disk.virtualMachine} ${disk.disk}`
    const known = was.get(key)
    if (known !== undefined) rates.set(key, Math.max(0, (num(disk.doneBytes) - known) / passedSeconds))
  }
  return rates
}

/** A cancel's consequence, said before it is done. */
export function cancelLoss(job: Job): string {
  if (job.state === 'STATE_QUEUED' || job.state === 'STATE_DISPATCHING') return 'The job has not begun: nothing is lost. It is not tried again.'
  switch (kindOf(job)) {
    case 'backup':
      return 'No recovery point comes of this backup. The machine goes on as before; data that was sent already is used by the next backup or removed by a prune. Earlier recovery points stay.'
    case 'restore':
      return job.restore?.mode === 'MODE_IN_PLACE'
        ? 'The restore stops and what it wrote is removed. The original machine may have been turned off or deleted already: see what the job says after the cancel. The recovery point stays.'
        : 'The new machine and the disks written so far are removed. The recovery point and the original machine stay as they are.'
    case 'verify':
      return 'What was not checked yet stays unchecked. Nothing stored is changed.'
    case 'prune':
      return 'Space that was not given back yet stays used. No recovery point is lost.'
  }
}
