import { describe, expect, it } from 'vitest'
import proto from '../../../proto/umbra/v1/error_reasons.proto?raw'
import type { Event } from '../api/client'
import { EventFeed } from './event_feed'
import { Invalidator, keysOf } from './invalidation'
import { Stream, type Source, type StreamState } from './stream'

class FakeTimers {
  waiting: { at: number; call: () => void }[] = []
  now = 0
  after(milliseconds: number, call: () => void) {
    const timer = { at: this.now + milliseconds, call }
    this.waiting.push(timer)
    return () => { this.waiting = this.waiting.filter((other) => other !== timer) }
  }
  pass(milliseconds: number) {
    this.now += milliseconds
    const due = this.waiting.filter((timer) => timer.at <= this.now)
    this.waiting = this.waiting.filter((timer) => timer.at > this.now)
    for (const timer of due) timer.call()
  }
}

class FakeSource implements Source {
  onopen: (() => void) | null = null
  onmessage: ((message: { data: string }) => void) | null = null
  onerror: (() => void) | null = null
  closed = false
  end: ((message: { data: string }) => void) | undefined
  constructor(readonly url: string) {}
  addEventListener(_type: 'end', listener: (message: { data: string }) => void) { this.end = listener }
  close() { this.closed = true }
}

function setUp() {
  const timers = new FakeTimers()
  const sources: FakeSource[] = []
  const open = (url: string) => {
    const source = new FakeSource(url)
    sources.push(source)
    return source
  }
  const last = () => {
    const source = sources.at(-1)
    if (!source) throw new Error('nothing was opened')
    return source
  }
  return { timers, sources, open, last }
}

function feed() {
  const base = setUp()
  const events: string[] = []
  const states: StreamState[] = []
  let missed = 0
  const it = new EventFeed({
    event: (event) => events.push(String(event.sequence)), missed: () => { missed += 1 }, state: (state) => states.push(state),
    open: base.open, timers: base.timers,
  })
  return { ...base, events, states, it, missed: () => missed, send: (sequence: number) => base.last().onmessage?.({ data: JSON.stringify({ sequence: String(sequence) }) }) }
}

describe('the event feed', () => {
  it('begins with new events and resumes after the last that it saw', () => {
    const f = feed()
    expect(f.last().url).toBe('/v1/events:watch?afterSequence=-1')
    f.last().onopen?.()
    f.send(41)
    f.send(42)
    f.last().onerror?.()
    expect(f.states).toEqual(['connecting', 'live', 'lost'])
    f.timers.pass(500)
    expect(f.last().url).toBe('/v1/events:watch?afterSequence=42')
    f.last().onopen?.()
    f.send(43)
    expect(f.events).toEqual(['41', '42', '43'])
    expect(f.missed()).toBe(0)
  })
  it('passes no event on twice', () => {
    const f = feed()
    f.send(7)
    f.send(7)
    f.send(6)
    f.send(8)
    expect(f.events).toEqual(['7', '8'])
  })
  it('says that events may be missed when there is no number to resume from', () => {
    const f = feed()
    f.last().onopen?.()
    expect(f.missed()).toBe(0)
    f.last().onerror?.()
    f.timers.pass(500)
    f.last().onopen?.()
    expect(f.missed()).toBe(1)
  })
})

describe('a stream', () => {
  const start = () => {
    const base = setUp()
    const states: StreamState[] = []
    const stream = new Stream({ url: () => '/x', message: () => undefined, state: (state) => states.push(state), open: base.open, timers: base.timers })
    return { ...base, states, stream }
  }
  it('waits longer after each failure, up to a limit, and from the start after a success', () => {
    const s = start()
    const waits: number[] = []
    for (let i = 0; i < 8; ++i) {
      s.last().onerror?.()
      const wait = (s.timers.waiting[0]?.at ?? 0) - s.timers.now
      waits.push(wait)
      s.timers.pass(wait)
    }
    expect(waits).toEqual([500, 1000, 2000, 4000, 8000, 15000, 15000, 15000])
    s.last().onopen?.()
    s.last().onerror?.()
    expect((s.timers.waiting[0]?.at ?? 0) - s.timers.now).toBe(500)
  })
  it('comes back when the daemon stops, and not when nothing more will come', () => {
    const s = start()
    s.last().end?.({ data: '{"status":503,"reason":"SERVER_STOPPING"}' })
    s.timers.pass(500)
    expect(s.sources).toHaveLength(2)
    s.last().end?.({ data: '{}' })
    s.timers.pass(60_000)
    expect(s.sources).toHaveLength(2)
    expect(s.states.at(-1)).toBe('ended')
  })
  it('that is closed does nothing more', () => {
    const s = start()
    const source = s.last()
    source.onerror?.()
    s.stream.close()
    s.timers.pass(60_000)
    expect(s.sources).toHaveLength(1)
    expect(source.closed).toBe(true)
  })
  it('listens to one connection at a time', () => {
    const s = start()
    const old = s.last()
    old.onerror?.()
    s.timers.pass(500)
    old.onerror?.()
    old.onopen?.()
    expect(s.states).toEqual(['connecting', 'lost'])
    expect(s.sources).toHaveLength(2)
  })
})

describe('what an event makes old', () => {
  it('is asked for again at once, then after a pause, once for all that came meanwhile', () => {
    const timers = new FakeTimers()
    const asked: string[] = []
    const invalidator = new Invalidator((key) => asked.push(key.join(' ')), timers)
    const event: Event = { type: 'JOB_STATE_CHANGED', resource: 'jobs/j1' }
    invalidator.take(event)
    expect(asked).toEqual(['jobs', 'job j1', 'events jobs/j1', 'coverage', 'nights', 'repositories'])
    for (let i = 0; i < 50; ++i) invalidator.take(event)
    expect(asked).toHaveLength(6)
    timers.pass(1000)
    expect(asked.slice(6)).toEqual(['jobs', 'job j1', 'events jobs/j1'])
    timers.pass(15_000)
    expect(asked.filter((key) => key === 'coverage')).toHaveLength(2)
    const settled = asked.length
    timers.pass(60_000)
    expect(asked).toHaveLength(settled)
  })
  it('is something for each kind of resource', () => {
    for (const resource of ['jobs/a', 'recoveryPoints/a', 'hosts/a', 'policies/a', 'repositories/a', 'notificationChannels/a', '']) {
      expect(keysOf({ resource }).length).toBeGreaterThan(0)
    }
    // A host's page isn't asked for again because of another host.
    expect(keysOf({ resource: 'hosts/h', type: 'HOST_ONLINE' })).toContainEqual(['hosts', 'h'])
    expect(keysOf({ resource: 'hosts/h', type: 'HOST_ONLINE' })).not.toContainEqual(['hosts'])
    expect(keysOf({ resource: 'hosts/h/virtualMachines/v', type: 'LABELS_CHANGED' })).toContainEqual(['machines'])
  })
})

describe('the reasons', () => {
  it('are those of the proto, with what to do', async () => {
    const { default: reasons } = await import('virtual:reasons')
    expect(Object.keys(reasons)).toHaveLength([...proto.matchAll(/^ {2}ERROR_REASON_\w+ = [1-9]\d*;/gm)].length)
    expect(reasons['HOST_OFFLINE']).toContain('Start umbra-agent')
  })
})
