// What happened to a resource, as it happens: the newest last, and in sight as long as nobody looks at what was before.
import { Table } from '@mantine/core'
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
            <Table verticalSpacing={4}>
              <Table.Tbody>
                {events.map((event) => (
                  <Table.Tr key={event.sequence}>
                    <Table.Td className="clip" w="13rem">{time(event.time, zone)}</Table.Td>
                    <Table.Td w="6rem"><Tag tone={TONES[event.severity ?? 'SEVERITY_UNSPECIFIED']}>{enumWords(event.severity, 'SEVERITY_') || 'info'}</Tag></Table.Td>
                    <Table.Td className="wrap">{event.message}</Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </div>
        )}
      </Loaded>
    </Panel>
  )
}
