// What happened to a resource, as it happens: the newest last, and in sight as long as nobody looks at what was before.
import { useQuery } from '@tanstack/react-query'
import { useEffect, useRef } from 'react'
import { eventsQuery } from '../api/queries'
import { enumWords, time } from '../logic/format'
import { Empty, Loaded, Panel, Tag } from './parts'
import { useZone } from './preferences'

const TONES = { SEVERITY_ERROR: 'bad', SEVERITY_WARNING: 'warn', SEVERITY_INFO: 'idle', SEVERITY_UNSPECIFIED: 'idle' } as const
// Within so many pixels of the end somebody looks at the end.
const NEAR_END_PX = 40

export function EventLog({ resource, empty = 'No event of it is kept any more.' }: { resource: string; empty?: string }) {
  const query = useQuery({ ...eventsQuery(resource), retry: false })
  const zone = useZone()
  const box = useRef<HTMLDivElement>(null)
  const follows = useRef(true)
  const newest = query.data?.at(-1)?.sequence
  useEffect(() => {
    if (box.current && follows.current) box.current.scrollTop = box.current.scrollHeight
  }, [newest])
  return (
    <Panel title="What happened">
      <Loaded query={query}>
        {(events) => events.length === 0 ? <Empty>{empty}</Empty> : (
          <div className="log" role="log" aria-label="Events" tabIndex={0} ref={box}
            onScroll={(event) => { const at = event.currentTarget; follows.current = at.scrollHeight - at.scrollTop - at.clientHeight < NEAR_END_PX }}>
            {events.map((event) => (
              <div className="log-row" key={event.sequence}>
                <span className="log-time">{time(event.time, zone)}</span>
                <span className="log-tone"><Tag tone={TONES[event.severity ?? 'SEVERITY_UNSPECIFIED']}>{enumWords(event.severity, 'SEVERITY_') || 'info'}</Tag></span>
                <span className="log-text wrap">{event.message}</span>
              </div>
            ))}
          </div>
        )}
      </Loaded>
    </Panel>
  )
}
