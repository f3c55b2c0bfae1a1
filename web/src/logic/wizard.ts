// Restore as a new machine, step by step: which steps there are, what each needs, and the job that comes of it.
import type { Job, RecoveryPoint } from '../api/client'

export const STEPS = ['what', 'where', 'check'] as const
export type Step = (typeof STEPS)[number]

export interface Plan {
  point: string
  /** "hosts/{host}"; empty: the host that it was backed up from. */
  host: string
  displayName: string
  /** Empty: the agent's default folder. */
  folder: string
  powerOn: boolean
}

export function emptyPlan(point = ''): Plan {
  return { point, host: '', displayName: '', folder: '', powerOn: false }
}

/** The name that the daemon gives when none is asked for. */
export function defaultName(point: RecoveryPoint | undefined): string {
  return `${point?.virtualMachineDisplayName || 'machine'}-restored`
}

/** What keeps a step from being left, by field; empty: nothing. */
export function problemsOf(step: Step, plan: Plan, point: RecoveryPoint | undefined): Partial<Record<keyof Plan, string>> {
  if (step === 'what') {
    if (plan.point === '') return { point: 'Choose the recovery point to restore.' }
    if (point?.fileSet) return { point: 'This is a file set: restore it with umbra restore run, to a folder of your choice.' }
    if (point?.deleteTime) return { point: 'This recovery point is removed: undelete it first.' }
    return {}
  }
  const problems: Partial<Record<keyof Plan, string>> = {}
  if (step === 'where') {
    if (plan.displayName !== plan.displayName.trim()) problems.displayName = 'Without blanks at the beginning and the end.'
    if (plan.folder !== '' && !plan.folder.startsWith('/') && !/^[A-Za-z]:\\/.test(plan.folder)) {
      problems.folder = 'A whole path on the host, such as /var/lib/images.'
    }
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

export function restoreJob(plan: Plan): Job {
  return {
    restore: {
      recoveryPoint: plan.point, mode: 'MODE_NEW', targetHost: plan.host, displayName: plan.displayName, targetFolder: plan.folder,
      powerOn: plan.powerOn,
    },
  }
}
