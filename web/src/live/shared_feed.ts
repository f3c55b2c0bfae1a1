// One event stream for all tabs of a browser, which opens only six connections to a host: the tab that holds the lock has the stream and tells
// the others; when it goes, another one takes over from the last number that everybody saw.
import type { Event } from '../api/client'
import { EventFeed } from './event_feed'
import type { StreamState } from './stream'

const NAME = 'umbra-events'

type Message = { event: Event } | { state: StreamState } | { missed: true } | { hello: true }

export interface SharedFeedOptions {
  event(event: Event): void
  missed(): void
  state(state: StreamState): void
}

/** Begins at once; returns what ends it. */
export function shareFeed(options: SharedFeedOptions): () => void {
  if (!('locks' in navigator) || !('BroadcastChannel' in window)) {
    const feed = new EventFeed(options)
    return () => feed.close()
  }
  const channel = new BroadcastChannel(NAME)
  const ending = new AbortController()
  let lastState: StreamState | undefined
  let leads = false
  channel.onmessage = (message: MessageEvent<Message>) => {
    const said = message.data
    if ('hello' in said) {
      if (leads && lastState) channel.postMessage({ state: lastState })
    } else if ('event' in said) options.event(said.event)
    else if ('missed' in said) options.missed()
    else options.state(said.state)
  }
  channel.postMessage({ hello: true })
  const lead = () =>
    new Promise<void>((release) => {
      leads = true
      // A tab that takes over may have missed what came between the other's end and its own first connection.
      options.missed()
      const feed = new EventFeed({
        event: (event) => { channel.postMessage({ event }); options.event(event) },
        missed: () => { channel.postMessage({ missed: true }); options.missed() },
        state: (state) => { lastState = state; channel.postMessage({ state }); options.state(state) },
      })
      ending.signal.addEventListener('abort', () => { feed.close(); release() })
    })
  navigator.locks.request(NAME, { signal: ending.signal }, lead).catch(() => undefined) // ended before it was its turn
  return () => {
    ending.abort()
    channel.close()
  }
}
