// Which of the things that pages show an event makes old. A fleet's night has many events a second: each key is asked for again at once,
// and then at most once in a while.
import type { Event } from '../api/client'
import type { Timers } from './stream'

export type Key = readonly string[]

export function keysOf(event: Event): Key[] {
  const resource = event.resource ?? ''
  const [kind, id = ''] = resource.split('/')
  const events: Key = ['events', resource]
  switch (kind) {
    case 'jobs':
      return event.type === 'JOB_STATE_CHANGED'
        ? [['jobs'], ['job', id], events, ['coverage'], ['nights'], ['repositories']]
        : [['jobs'], ['job', id], events]
    case 'recoveryPoints':
      return [['points'], ['point', id], ['coverage'], ['machine'], ['machines'], ['repositories'], events]
    case 'hosts':
      return [['hosts', 'list'], ['hosts', id], ['machines'], ['machine'], ['coverage'], events]
    case 'policies':
      return [['policies'], ['coverage'], events]
    case 'repositories':
      return [['repositories'], events]
    case 'notificationChannels':
      return [['channels'], events]
    default:
      return [events]
  }
}

// Sums over the fleet cost the daemon most.
const PAUSE_MS: Record<string, number> = { coverage: 15_000, nights: 15_000, repositories: 10_000, machines: 5000, machine: 2000, hosts: 5000 }
const USUAL_PAUSE_MS = 1000

export class Invalidator {
  /** Keys in their pause; true: asked for meanwhile. */
  private readonly pausing = new Map<string, boolean>()

  constructor(private readonly invalidate: (key: Key) => void, private readonly timers: Timers) {}

  take(event: Event): void {
    for (const key of keysOf(event)) this.ask(key)
  }

  private ask(key: Key): void {
    const name = JSON.stringify(key)
    if (this.pausing.has(name)) {
      this.pausing.set(name, true)
      return
    }
    this.invalidate(key)
    this.pausing.set(name, false)
    this.timers.after(PAUSE_MS[key[0] ?? ''] ?? USUAL_PAUSE_MS, () => {
      const again = this.pausing.get(name)
      this.pausing.delete(name)
      if (again) this.ask(key)
    })
  }
}
