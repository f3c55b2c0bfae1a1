// A job's phases with their times, as bars on one line; and its disks, machine by machine.
import type { Job } from '../api/client'
import { num, seconds } from './format'
import { isFinal, kindOf, PHASES } from './jobs'

export interface PhaseBar {
  label: string
  /** As in the API. */
  phase: string
  start: string
  /** Undefined while it goes on. */
  seconds: number | undefined
  /** Shares of the whole, 0 to 1. */
  left: number
  width: number
  /** Guests stand still in it. */
  still: boolean
}

/** In order of time; none when the daemon kept no times, as of jobs of before. */
export function phaseBars(job: Job, now: number): PhaseBar[] {
  const kind = kindOf(job) === 'restore' ? 'restore' : 'backup'
  const phases = (job.phases ?? []).filter((phase) => phase.startTime)
  if (phases.length === 0) return []
  const at = (text: string | undefined, otherwise: number) => (text ? new Date(text).getTime() : otherwise)
  const first = at(phases[0]?.startTime, now)
  const ended = isFinal(job) ? at(job.endTime, now) : now
  const last = Math.max(first + 1, ...phases.map((phase) => at(phase.endTime, ended)))
  return phases.map((phase) => {
    const start = at(phase.startTime, first)
    const end = Math.max(start, at(phase.endTime, ended))
    const known = PHASES.find((other) => other.phase === phase.phase)
    return {
      label: known?.[kind] || known?.backup || 'Other', phase: phase.phase ?? '', start: phase.startTime ?? '',
      seconds: phase.endTime || isFinal(job) ? (end - start) / 1000 : undefined, left: (start - first) / (last - first), width: (end - start) / (last - first),
      still: phase.phase === 'PHASE_FREEZING' || phase.phase === 'PHASE_SNAPSHOT',
    }
  })
}

/** "143 ms", "1,204 ms", "12.345 s", "10 s", "4 min 5.2 s": to the millisecond where that is what counts. */
export function precise(inSeconds: number): string {
  const ms = Math.round(inSeconds * 1000)
  if (ms === 0 && inSeconds > 0) return 'less than 1 ms'
  if (ms < 10_000) return `${ms.toLocaleString('en-GB')} ms`
  if (ms < 60_000) return `${ms / 1000} s`
  const minutes = Math.floor(ms / 60_000)
  const rest = `${((ms % 60_000) / 1000).toFixed(1)} s`
  return minutes < 60 ? `${minutes} min ${rest}` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

export interface FreezeWindow {
  seconds: number
  limitSeconds: number
  /** Share of what is allowed, 0 to 1. */
  share: number
}

const FREEZE_LIMIT_SECONDS = 10 // of the API, when the caller says none

/** How long guests were frozen, beside what the backup allowed; undefined when none was. */
export function freezeWindow(job: Job): FreezeWindow | undefined {
  const frozen = seconds(job.freezeDuration)
  if (!frozen || !job.backup) return undefined
  const limitSeconds = seconds(job.backup.freezeTimeout) || FREEZE_LIMIT_SECONDS
  return { seconds: frozen, limitSeconds, share: Math.min(1, frozen / limitSeconds) }
}

export interface WriterBar {
  name: string
  /** In whose guest it is; '': on the host. */
  machine: string
  start: string
  /** Until it was frozen, until it was told to thaw, until it worked again; undefined where that isn't known. */
  freezing: number | undefined
  still: number | undefined
  thawing: number | undefined
  /** From being told to freeze to working again. */
  whole: number | undefined
  /** Shares of the whole window, 0 to 1: where it begins, and how wide its three parts are. */
  left: number
  widths: [number, number, number]
  error: { reason?: string; message?: string } | undefined
}

/** Seconds since 1970, to the microsecond: a Date knows milliseconds only. */
function instant(text: string): number {
  const fraction = /\.(\d+)/.exec(text)?.[1]
  return Math.floor(Date.parse(text) / 1000) + (fraction ? Number(`0.${fraction}`) : 0)
}

/** The freeze window, writer by writer, in the order in which they were frozen. */
export function writerBars(job: Job): WriterBar[] {
  const writers = (job.writers ?? []).flatMap((writer) => {
    if (!writer.freezeTime) return []
    const told = instant(writer.freezeTime)
    const later = (text: string | undefined) => (text ? Math.max(told, instant(text)) : undefined)
    return [{ writer, told, frozen: later(writer.frozenTime), thaw: later(writer.thawTime), thawed: later(writer.thawedTime) }]
  })
  const first = Math.min(...writers.map((one) => one.told))
  const last = Math.max(first + 0.001, ...writers.flatMap((one) => [one.frozen ?? 0, one.thaw ?? 0, one.thawed ?? 0]))
  const took = (from: number | undefined, to: number | undefined) => (from === undefined || to === undefined ? undefined : Math.max(0, to - from))
  return writers.map(({ writer, told, frozen, thaw, thawed }) => {
    const ends = [frozen ?? thaw ?? thawed ?? last, thaw ?? thawed ?? last, thawed ?? last]
    const share = (from: number, to: number) => Math.max(0, to - from) / (last - first)
    return {
      name: writer.displayName ?? '', machine: writer.virtualMachine ?? '', start: writer.freezeTime ?? '',
      freezing: took(told, frozen), still: took(frozen, thaw), thawing: took(thaw, thawed), whole: took(told, thawed), left: (told - first) / (last - first),
      widths: [share(told, ends[0]!), share(ends[0]!, ends[1]!), share(ends[1]!, ends[2]!)], error: writer.error,
    }
  })
}

type Disk = NonNullable<NonNullable<Job['progress']>['disks']>[number]

export interface MachineProgress {
  machine: string
  disks: Disk[]
  done: number
  total: number
  /** Sum of the disks' rates, bytes a second. */
  rate: number
}

/** In the order in which the job names its disks. `rates` by "machine disk", see diskRates(). */
export function machineProgress(job: Job, rates: Map<string, number>): MachineProgress[] {
  const machines = new Map<string, MachineProgress>()
  for (const disk of job.progress?.disks ?? []) {
    const name = disk.virtualMachine ?? ''
    const machine = machines.get(name) ?? { machine: name, disks: [], done: 0, total: 0, rate: 0 }
    machine.disks.push(disk)
    machine.done += num(disk.doneBytes)
    machine.total += num(disk.totalBytes)
    machine.rate += rates.get(`${name} ${disk.disk}`) ?? 0
    machines.set(name, machine)
  }
  return [...machines.values()]
}

/** The same once more: what the caller of the first one said. */
export function specOf(job: Job): Job {
  const { backup, restore, verify, prune, priority, retry, uploadBytesPerSecond } = job
  return { ...(backup ? { backup } : restore ? { restore } : verify ? { verify } : { prune }), priority, retry, ...(backup ? { uploadBytesPerSecond } : {}) }
}

/** Doing it again takes something away. */
export function againLoses(job: Job): boolean {
  return job.restore?.mode === 'MODE_IN_PLACE' || Boolean(job.restore?.overwrite)
}
