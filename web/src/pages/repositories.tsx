import { Anchor, Table, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Link } from 'react-router'
import type { Repository } from '../api/client'
import { repositoriesQuery } from '../api/queries'
import { daysUntilFull } from '../logic/coverage'
import { bytes, idOf, num, percent } from '../logic/format'
import { fullWords, savedBytes } from '../logic/growth'
import { Empty, Loaded, Page, Tag } from '../ui/parts'

export default function Repositories() {
  const query = useQuery(repositoriesQuery)
  return (
    <Page title="Repositories">
      <Loaded query={query}>
        {(all) => all.length === 0 ? <Empty>No repository is configured: see [[repository]] in umbrad.toml.</Empty> : (
          <div className="scroll">
            <Table>
              <Table.Thead><Table.Tr><Table.Th>Repository</Table.Th><Table.Th>State</Table.Th><Table.Th>Used</Table.Th><Table.Th>Free</Table.Th><Table.Th>Recovery points</Table.Th><Table.Th>They hold</Table.Th><Table.Th>Saved</Table.Th><Table.Th>Deduplication</Table.Th><Table.Th>Compression</Table.Th></Table.Tr></Table.Thead>
              <Table.Tbody>{all.map((repository) => <Row key={repository.name} repository={repository} />)}</Table.Tbody>
            </Table>
          </div>
        )}
      </Loaded>
    </Page>
  )
}

export function RepositoryState({ repository }: { repository: Repository }) {
  if (num(repository.verification?.damagedPlaceCount) > 0) return <Tag tone="bad">Damaged</Tag>
  if (repository.clockAhead) return <Tag tone="warn">Clock to be confirmed</Tag>
  if (num(repository.verification?.quarantinedPackCount) > 0) return <Tag tone="warn">In quarantine</Tag>
  const stored = num(repository.storedBytes)
  if (percent(stored, stored + num(repository.freeBytes)) > 90) return <Tag tone="warn">Nearly full</Tag>
  return <Tag tone="good">Sound</Tag>
}

function Row({ repository }: { repository: Repository }) {
  return (
    <Table.Tr>
      <Table.Td><Anchor component={Link} to={`/repositories/${idOf(repository.name)}`}>{idOf(repository.name)}</Anchor></Table.Td>
      <Table.Td><RepositoryState repository={repository} /></Table.Td>
      <Table.Td>{bytes(repository.storedBytes)}</Table.Td>
      <Table.Td>{bytes(repository.freeBytes)}<Text size="xs" className="dim">{fullWords(daysUntilFull(repository.days ?? [], num(repository.freeBytes)))}</Text></Table.Td>
      <Table.Td>{num(repository.recoveryPointCount).toLocaleString('en-GB')}</Table.Td>
      <Table.Td>{bytes(repository.logicalBytes)}</Table.Td>
      <Table.Td>{bytes(savedBytes(repository))}</Table.Td>
      <Table.Td>{(repository.dedupRatio ?? 0).toFixed(1)} times</Table.Td>
      <Table.Td>{(repository.compressionRatio ?? 0).toFixed(1)} times</Table.Td>
    </Table.Tr>
  )
}
