// A stream of server-sent events that comes back: one connection at a time, each further try later than the one before.

export interface Source {
  onopen: (() => void) | null
  onmessage: ((message: { data: string }) => void) | null
  onerror: (() => void) | null
  addEventListener(type: 'end', listener: (message: { data: string }) => void): void
  close(): void
}

export interface Timers {
  /** Calls back once after so many milliseconds; returns what takes it back. */
  after(milliseconds: number, callback: () => void): () => void
}

export type StreamState = 'connecting' | 'live' | 'lost' | 'ended'

export interface StreamOptions {
  /** Where the next connection begins: asked at each try, so that it can resume. */
  url(): string
  message(data: string): void
  state(state: StreamState): void
  open?(url: string): Source
  timers?: Timers
}

const FIRST_WAIT_MS = 500
const LONGEST_WAIT_MS = 15_000

const browserTimers: Timers = {
  after(milliseconds, callback) {
    const timer = setTimeout(callback, milliseconds)
    return () => clearTimeout(timer)
  },
}

/** Begins at once. Ends by close(), or when the daemon says that nothing more will come. */
export class Stream {
  private source: Source | undefined
  private takeBack: (() => void) | undefined
  private failures = 0
  private closed = false
  private readonly open: (url: string) => Source
  private readonly timers: Timers

  constructor(private readonly options: StreamOptions) {
    this.open = options.open ?? ((url) => new EventSource(url) as Source)
    this.timers = options.timers ?? browserTimers
    options.state('connecting')
    this.connect()
  }

  close(): void {
    this.closed = true
    this.takeBack?.()
    this.source?.close()
    this.source = undefined
  }

  private connect(): void {
    // The browser's own reconnecting gives up at the first refusal, and at each 503 of a daemon that starts; this one doesn't.
    const source = this.open(this.options.url())
    this.source = source
    source.onopen = () => {
      if (this.source !== source) return
      this.failures = 0
      this.options.state('live')
    }
    source.onmessage = (message) => {
      if (this.source === source) this.options.message(message.data)
    }
    source.onerror = () => this.lose(source)
    source.addEventListener('end', (message) => {
      if (this.source !== source) return
      if (message.data.trim() !== '{}') {
        this.lose(source)
        return
      }
      this.close()
      this.options.state('ended')
    })
  }

  private lose(source: Source): void {
    if (this.closed || this.source !== source) return
    source.close()
    this.source = undefined
    const wait = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.failures)
    this.failures += 1
    this.options.state('lost')
    if (this.closed) return // whoever heard of it may have closed it
    this.takeBack = this.timers.after(wait, () => this.connect())
  }
}
