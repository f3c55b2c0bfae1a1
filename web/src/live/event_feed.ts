// All events of the daemon, each once and in order, over losses of the connection and restarts of the daemon.
import type { Event } from '../api/client'
import { Stream, type Source, type StreamState, type Timers } from './stream'

export interface FeedOptions {
  event(event: Event): void
  /** Events may have been missed: what is shown must be asked for again. */
  missed(): void
  state(state: StreamState): void
  open?(url: string): Source
  timers?: Timers
}

export class EventFeed {
  private sequence: number | undefined
  private wasLive = false
  private readonly stream: Stream

  constructor(private readonly options: FeedOptions) {
    this.stream = new Stream({
      // -1: only new ones. Afterwards from the last that was seen.
      url: () => `/v1/events:watch?afterSequence=${this.sequence ?? -1}`,
      message: (data) => this.take(data),
      state: (state) => this.tell(state),
      open: options.open,
      timers: options.timers,
    })
  }

  close(): void {
    this.stream.close()
  }

  private take(data: string): void {
    const event = JSON.parse(data) as Event
    const sequence = Number(event.sequence ?? 0)
    if (this.sequence !== undefined && sequence <= this.sequence) return
    this.sequence = sequence
    this.options.event(event)
  }

  private tell(state: StreamState): void {
    if (state === 'live') {
      // Without a number there is nothing to resume from.
      if (this.wasLive && this.sequence === undefined) this.options.missed()
      this.wasLive = true
    }
    this.options.state(state)
  }
}
