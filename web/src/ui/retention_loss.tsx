// Which of the points that there are would go by other rules: said before they are saved.
import { Skeleton, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import type { Policy } from '../api/client'
import { retentionQuery } from '../api/queries'
import { lossOf } from '../logic/retention_loss'
import { count, num, time } from '../logic/format'
import { Notice, Problem } from './parts'
import { useZone } from './preferences'

const SHOWN = 12

export function RetentionLoss({ policy, retention }: { policy: string; retention: NonNullable<Policy['retention']> }) {
  const zone = useZone()
  // No rule at all is no rule to try, but "keep everything".
  const keepsAll = Object.values(retention).every((value) => num(value) === 0 && (value === 0 || value === undefined))
  const query = useQuery({ ...retentionQuery(policy, retention), enabled: !keepsAll })
  if (keepsAll) return <Notice tone="good" title="No recovery point goes: everything is kept from now on" role="status" />
  if (query.error) return <Problem error={query.error} retry={() => void query.refetch()} />
  if (!query.data) return <Skeleton height={40} aria-label="Looks at the points that there are" />
  const loss = lossOf(query.data.items)
  const looked = query.data.whole ? '' : ' of the first 1,000 machines'
  if (loss.going === 0) return <Notice tone="good" role="status" title={`No recovery point goes: these rules keep all ${count(loss.points, 'point')}${looked}`} />
  return (
    <Notice tone="bad" role="alert" title={`${count(loss.going, 'recovery point')} of ${count(loss.members.length, 'machine')} would go, of ${loss.points.toLocaleString('en-GB')} in all${looked}`}>
      <ul className="loss">
        {loss.members.slice(0, SHOWN).map((member) => (
          <li key={member.member}>
            {member.displayName}: {member.going.length} of {member.points}
            <span className="dim">, {time(member.going.at(-1), zone)}{member.going.length > 1 && ` to ${time(member.going[0], zone)}`}</span>
          </li>
        ))}
      </ul>
      {loss.members.length > SHOWN && <Text size="sm">And of {count(loss.members.length - SHOWN, 'machine')} more.</Text>}
    </Notice>
  )
}
