// Restores, step by step: which steps there are, what each needs, what is lost by it, and the job that comes of it.
import type { Job, RecoveryPoint, VirtualMachine } from '../api/client'

export const STEPS = ['what', 'where', 'check'] as const
export type Step = (typeof STEPS)[number]

export type Mode = 'new' | 'inPlace'

export interface Plan {
  point: string
  /** Of a virtual machine's point. */
  mode: Mode
  /** "hosts/{host}"; empty: the host that it was backed up from. */
  host: string
  displayName: string
  /** Empty: the agent's default folder; in place: where the disks were. Of files: needed. */
  folder: string
  powerOn: boolean
  /** In place: go on from the saved memory. */
  resumeState: boolean
  takeClusterOffline: boolean
  /** In place: the loss was read. */
  understood: boolean
  /** Of a file set: only this file or folder; empty: everything. */
  path: string
  overwrite: boolean
}

export function emptyPlan(point = ''): Plan {
  return {
    point, mode: 'new', host: '', displayName: '', folder: '', powerOn: false, resumeState: false, takeClusterOffline: false, understood: false, path: '', overwrite: false,
  }
}

/** The name that the daemon gives when none is asked for. */
export function defaultName(point: RecoveryPoint | undefined): string {
  return `${point?.virtualMachineDisplayName || 'machine'}-restored`
}

function isWholePath(path: string): boolean {
  return path.startsWith('/') || /^[A-Za-z]:\\/.test(path)
}

/** What keeps a step from being left, by field; empty: nothing. */
export function problemsOf(step: Step, plan: Plan, point: RecoveryPoint | undefined): Partial<Record<keyof Plan, string>> {
  const problems: Partial<Record<keyof Plan, string>> = {}
  if (step === 'what') {
    if (plan.point === '') problems.point = 'Choose the recovery point to restore.'
    else if (point?.deleteTime) problems.point = 'This recovery point is removed: bring it back first.'
    if (plan.path !== '' && !isWholePath(plan.path)) problems.path = 'The whole path at backup time, such as /srv/shop/data.'
  }
  if (step === 'where') {
    if (plan.displayName !== plan.displayName.trim()) problems.displayName = 'Without blanks at the beginning and the end.'
    else if (plan.displayName.includes('/')) problems.displayName = 'Without “/”.'
    if (plan.folder !== '' && !isWholePath(plan.folder)) problems.folder = 'A whole path on the host, such as /var/lib/images.'
    if (point?.fileSet && plan.folder === '') problems.folder = 'The folder that gets the files, such as /srv/restored.'
  }
  return problems
}

/** The furthest step that may be shown: a deep link or a changed answer never leads past a step with a problem. */
export function reachable(wanted: Step, plan: Plan, point: RecoveryPoint | undefined): Step {
  for (const step of STEPS) {
    if (step === wanted || Object.keys(problemsOf(step, plan, point)).length > 0) return step
  }
  return wanted
}

export function stepAfter(step: Step): Step | undefined {
  return STEPS[STEPS.indexOf(step) + 1]
}

export function stepBefore(step: Step): Step | undefined {
  return STEPS[STEPS.indexOf(step) - 1]
}

export interface Loss {
  /** The machine is there: it is turned off and replaced. */
  replaces: boolean
  /** Names of its checkpoints whose content lies inside the disks that are replaced. */
  checkpoints: string[]
  /** Disks that it has now and the point doesn't hold. */
  disks: string[]
  /** Its cluster resource has to be taken offline first. */
  cluster: string
  /** A newer point than the one that is restored is there: what it holds can be had again. */
  newerPoint: boolean
}

/** What a restore in place takes away, from what is known of the machine now; undefined: it isn't there any more. */
export function lossInPlace(point: RecoveryPoint, machine: VirtualMachine | undefined): Loss {
  const held = new Set((point.disks ?? []).map((disk) => disk.name))
  const now = [...(machine?.disks ?? []).map((disk) => disk.name ?? ''), ...(machine?.excludedDisks ?? []).map((disk) => disk.name ?? '')]
  const resource = machine?.clusterResource
  return {
    replaces: machine !== undefined,
    checkpoints: (machine?.checkpoints ?? []).filter((checkpoint) => checkpoint.kind === 'KIND_INTERNAL').map((checkpoint) => checkpoint.name ?? ''),
    disks: now.filter((disk) => !held.has(disk)),
    cluster: resource && resource.state !== 'offline' ? (resource.resource ?? '') : '',
    newerPoint: Boolean(machine?.lastRecoveryPoint) && machine?.lastRecoveryPoint !== point.name,
  }
}

export function restoreJob(plan: Plan, point?: RecoveryPoint): Job {
  if (point?.fileSet) {
    return { restore: { recoveryPoint: plan.point, mode: 'MODE_NEW', targetHost: plan.host, targetFolder: plan.folder, path: plan.path, overwrite: plan.overwrite } }
  }
  if (plan.mode === 'inPlace') {
    return {
      restore: {
        recoveryPoint: plan.point, mode: 'MODE_IN_PLACE', targetFolder: plan.folder, powerOn: plan.powerOn && !plan.resumeState, resumeState: plan.resumeState,
        takeClusterOffline: plan.takeClusterOffline,
      },
    }
  }
  return {
    restore: {
      recoveryPoint: plan.point, mode: 'MODE_NEW', targetHost: plan.host, displayName: plan.displayName, targetFolder: plan.folder,
      powerOn: plan.powerOn,
    },
  }
}
