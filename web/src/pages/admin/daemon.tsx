import { Button, Group, NativeSelect, Stack, Table, Text } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { catalogQuery, loggingQuery, versionQuery } from '../../api/admin_queries'
import { api, body, type Catalog } from '../../api/client'
import { identityQuery } from '../../api/queries'
import { bytes, idOf, num } from '../../logic/format'
import { canEverywhere } from '../../logic/permissions'
import { Empty, Field, Loaded, Notice, Page, Panel, Problem, Tag, When } from '../../ui/parts'

const LEVELS = ['error', 'warn', 'info', 'debug', 'trace']

export default function DaemonPage() {
  const identity = useQuery(identityQuery)
  const version = useQuery(versionQuery)
  const logging = useQuery(loggingQuery)
  const manage = canEverywhere(identity.data, 'catalog.manage')
  return (
    <Page title="Daemon">
      <Panel title="umbrad">
        <dl className="fields">
          <Field label="Version">{version.data ?? '–'}</Field>
          <Field label="Health and figures">/healthz, /readyz and /metrics at the address of [metrics] in umbrad.toml</Field>
        </dl>
        <Loaded query={logging} rows={1}>{(log) => <LogLevel level={log.level ?? ''} manage={manage} />}</Loaded>
      </Panel>
      <CatalogPanel manage={manage} />
    </Page>
  )
}

function LogLevel({ level, manage }: { level: string; manage: boolean }) {
  const queries = useQueryClient()
  const set = useMutation({
    mutationFn: (chosen: string) => body(api.POST('/v1/logging:setLevel', { body: { level: chosen } })),
    onSuccess: (now) => queries.setQueryData(['logging'], now),
  })
  return (
    <>
      <NativeSelect label="Log level" description="Holds until the daemon restarts or reads its configuration again" disabled={!manage || set.isPending} value={level} data={LEVELS}
        onChange={(event) => set.mutate(event.currentTarget.value)} maw="22rem" />
      {set.error ? <Problem error={set.error} /> : null}
    </>
  )
}

function CatalogPanel({ manage }: { manage: boolean }) {
  const queries = useQueryClient()
  const catalog = useQuery(catalogQuery)
  const backUp = useMutation({
    mutationFn: () => body(api.POST('/v1/catalog:backUp', { body: {} })),
    onSuccess: (done) => queries.setQueryData(['catalog'], done.catalog),
  })
  const check = useMutation({ mutationFn: () => body(api.POST('/v1/catalog:check', { body: {} })) })
  return (
    <Panel title="Catalog" aside={(
      <Group gap="xs">
        {manage && <Button size="compact-sm" loading={backUp.isPending} onClick={() => backUp.mutate()}>Copy it now</Button>}
        <Button size="compact-sm" variant="default" loading={check.isPending} onClick={() => check.mutate()}>Check it</Button>
      </Group>
    )}>
      <Text size="sm" mb="xs">The daemon’s memory: hosts, policies, jobs, users. Each repository keeps sealed copies of it, from which a new machine goes on (umbrad restore-catalog).</Text>
      {backUp.error ?? check.error ? <Problem error={backUp.error ?? check.error} /> : null}
      {check.data && <Notice tone="good" title="The catalog is sound" role="status">{bytes(check.data.sizeBytes)} were read.</Notice>}
      <Loaded query={catalog}>{(data) => <Copies catalog={data} />}</Loaded>
    </Panel>
  )
}

function Copies({ catalog }: { catalog: Catalog }) {
  const repositories = catalog.repositories ?? []
  return (
    <Stack>
      <dl className="fields">
        <Field label="File on the daemon’s machine">{catalog.location}</Field>
        <Field label="Size">{bytes(catalog.sizeBytes)}</Field>
        <Field label="Schema">{catalog.schemaVersion}</Field>
        <Field label="Newest event">{num(catalog.newestEvent).toLocaleString('en-GB')}</Field>
      </dl>
      {repositories.length === 0 && <Empty>No repository, so no copy: when the daemon’s machine is lost, its memory is.</Empty>}
      {repositories.map((repository) => (
        <div key={repository.repository}>
          <Text fw={600}>Copies in {idOf(repository.repository)}</Text>
          {repository.errorReason && <Notice tone="bad" title="The last copy failed" role="alert">{repository.errorMessage} ({repository.errorReason})</Notice>}
          {(repository.copies ?? []).length === 0 ? <Empty>None yet.</Empty> : (
            <div className="scroll">
              <Table>
                <Table.Thead><Table.Tr><Table.Th>Made</Table.Th><Table.Th>Size</Table.Th><Table.Th>State</Table.Th><Table.Th>Id</Table.Th></Table.Tr></Table.Thead>
                <Table.Tbody>
                  {(repository.copies ?? []).slice(0, 10).map((copy) => (
                    <Table.Tr key={copy.id}>
                      <Table.Td>{copy.damaged ? '–' : <When value={copy.createTime} exact />}</Table.Td>
                      <Table.Td>{bytes(copy.storedBytes)}</Table.Td>
                      <Table.Td>{copy.damaged ? <Tag tone="bad">Damaged</Tag> : <Tag tone="good">Sound</Tag>}</Table.Td>
                      <Table.Td className="wrap">{copy.id}</Table.Td>
                    </Table.Tr>
                  ))}
                </Table.Tbody>
              </Table>
            </div>
          )}
        </div>
      ))}
    </Stack>
  )
}
