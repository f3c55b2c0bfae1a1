// The live side of the page: the event feed keeps what is shown new, a job's own stream keeps its page new to the tenth of a second.
import { useQueryClient } from '@tanstack/react-query'
import { useEffect, useState } from 'react'
import type { Job } from '../api/client'
import { isFinal } from '../logic/jobs'
import { Invalidator } from './invalidation'
import { shareFeed } from './shared_feed'
import { Stream, type StreamState } from './stream'

const timers = {
  after: (milliseconds: number, callback: () => void) => {
    const timer = setTimeout(callback, milliseconds)
    return () => clearTimeout(timer)
  },
}

/** For the whole page, once. Tells whether the connection stands. */
export function useEvents(): StreamState {
  const queries = useQueryClient()
  const [state, setState] = useState<StreamState>('connecting')
  useEffect(() => {
    const invalidator = new Invalidator((key) => void queries.invalidateQueries({ queryKey: key }), timers)
    return shareFeed({
      event: (event) => invalidator.take(event),
      missed: () => void queries.invalidateQueries(),
      state: (now) => {
        setState((before) => {
          // What failed while the daemon was away is asked for again; what a session has become is asked while it is.
          if (now === 'live' && before === 'lost') void queries.invalidateQueries({ predicate: (query) => query.state.status === 'error' })
          return now
        })
        if (now === 'lost') void queries.invalidateQueries({ queryKey: ['identity'] })
      },
    })
  }, [queries])
  return state
}

/** Follows a job into its query until it ends, while the page can be seen. */
export function useJobWatch(id: string, job: Job | undefined): void {
  const queries = useQueryClient()
  const ended = !job || isFinal(job)
  const [visible, setVisible] = useState(!document.hidden)
  useEffect(() => {
    const look = () => setVisible(!document.hidden)
    document.addEventListener('visibilitychange', look)
    return () => document.removeEventListener('visibilitychange', look)
  }, [])
  useEffect(() => {
    if (ended || !visible) return undefined
    const stream = new Stream({
      url: () => `/v1/jobs/${encodeURIComponent(id)}:watch`,
      message: (data) => queries.setQueryData(['job', id], JSON.parse(data) as Job),
      state: () => undefined,
    })
    return () => stream.close()
  }, [id, ended, visible, queries])
}
