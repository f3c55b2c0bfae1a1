// The keys of a repository. A secret that the daemon makes is shown in the answer to making it, and never again.
import { Button, Group, NativeSelect, PasswordInput, Stack, Table, Text, TextInput } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { api, body, type RepositoryKey } from '../api/client'
import { repositoryKeysQuery } from '../api/repository_queries'
import { enumWords, idOf } from '../logic/format'
import { Confirm, Copyable, Dialog, Empty, Loaded, Notice, Panel, Problem, Tag, When } from '../ui/parts'

const KINDS = [
  { value: 'KIND_RECOVERY_KEY', label: 'A recovery key, to print and keep in a safe' },
  { value: 'KIND_PASSPHRASE', label: 'A passphrase that a person knows' },
  { value: 'KIND_KEY_FILE', label: 'A key file, such as for a second daemon' },
] as const

export function Keys({ repository }: { repository: string }) {
  const keys = useQuery(repositoryKeysQuery(repository))
  const [asks, setAsks] = useState<'' | 'add' | 'rotate'>('')
  return (
    <Panel title="Keys" aside={(
      <Group gap="xs">
        <Button size="compact-sm" onClick={() => setAsks('add')}>Add a key</Button>
        <Button size="compact-sm" variant="default" onClick={() => setAsks('rotate')}>Rotate…</Button>
      </Group>
    )}>
      <Loaded query={keys}>
        {(data) => {
          const all = data.keys ?? []
          const usable = all.filter((key) => !key.problem)
          return (
            <>
              {usable.length < 2 && (
                <Notice tone="warn" title="Only one key opens this repository">When the daemon’s machine is lost with its key file, everything stored is lost. Add a recovery key, print it, and keep it away from this machine.</Notice>
              )}
              {all.length === 0 ? <Empty>The daemon tells of no key.</Empty> : (
                <div className="scroll">
                  <Table>
                    <Table.Thead><Table.Tr><Table.Th>Key</Table.Th><Table.Th>Kind</Table.Th><Table.Th>Label</Table.Th><Table.Th>Added</Table.Th><Table.Th>State</Table.Th><Table.Th>Actions</Table.Th></Table.Tr></Table.Thead>
                    <Table.Tbody>{all.map((key) => <KeyRow key={key.name} repository={repository} of={key} />)}</Table.Tbody>
                  </Table>
                </div>
              )}
              <Text size="sm" className="dim">Epoch {data.epoch ?? 1}, since <When value={data.epochTime} />.</Text>
            </>
          )
        }}
      </Loaded>
      {asks === 'add' && <AddDialog repository={repository} close={() => setAsks('')} />}
      <RotateDialog repository={repository} opened={asks === 'rotate'} close={() => setAsks('')} />
    </Panel>
  )
}

function KeyRow({ repository, of: key }: { repository: string; of: RepositoryKey }) {
  const queries = useQueryClient()
  const [asks, setAsks] = useState(false)
  const id = idOf(key.name)
  const remove = useMutation({
    mutationFn: () => body(api.DELETE('/v1/repositories/{repository}/keys/{key}', { params: { path: { repository, key: id } } })),
    onSuccess: () => { setAsks(false); void queries.invalidateQueries({ queryKey: ['repositories', repository, 'keys'] }) },
  })
  return (
    <Table.Tr>
      <Table.Td>{id.slice(0, 12)}</Table.Td>
      <Table.Td>{enumWords(key.kind, 'KIND_')}</Table.Td>
      <Table.Td>{key.label}</Table.Td>
      <Table.Td><When value={key.createTime} /></Table.Td>
      <Table.Td>{key.problem ? <><Tag tone="bad">Opens nothing</Tag> {key.problem}</> : key.inUse ? <Tag tone="busy">In use</Tag> : <Tag tone="good">Opens it</Tag>}</Table.Td>
      <Table.Td>
        {!key.inUse && <Button size="compact-sm" variant="default" onClick={() => setAsks(true)} aria-label={`Remove the key ${key.label || id}`}>Remove</Button>}
        <Confirm opened={asks} onClose={() => setAsks(false)} title="Remove this key?" action="Remove the key" busy={remove.isPending} error={remove.error} onConfirm={() => remove.mutate()}>
          <Text>Whoever has only the {enumWords(key.kind, 'KIND_')} <b>{key.label || id}</b> can’t open the repository with it any more. No data is lost while another key opens it.</Text>
          <Text>If the secret was stolen together with a copy of the repository, rotate the keys after this: what is written from then on, it doesn’t open.</Text>
        </Confirm>
      </Table.Td>
    </Table.Tr>
  )
}

function AddDialog({ repository, close }: { repository: string; close: () => void }) {
  const queries = useQueryClient()
  const [kind, setKind] = useState<(typeof KINDS)[number]['value']>('KIND_RECOVERY_KEY')
  const [label, setLabel] = useState('')
  const [passphrase, setPassphrase] = useState('')
  const add = useMutation({
    mutationFn: () => body(api.POST('/v1/repositories/{repository}/keys', {
      params: { path: { repository } }, body: { key: { kind, label }, ...(kind === 'KIND_PASSPHRASE' ? { passphrase } : {}) },
    })),
    onSuccess: () => { setPassphrase(''); void queries.invalidateQueries({ queryKey: ['repositories', repository, 'keys'] }) },
    gcTime: 0, // the answer has the secret
  })
  const short = kind === 'KIND_PASSPHRASE' && new TextEncoder().encode(passphrase).length < 12
  return (
    <Dialog opened onClose={close} title={`Add a key to ${repository}`}>
      <Stack>
        {add.data ? (
          <>
            {add.data.recoveryKey && <><Text>The recovery key. It is shown only now: print it, or write it down.</Text><Copyable label="the recovery key" text={add.data.recoveryKey} /></>}
            {add.data.keyFile && <><Text>The content of the key file. It is shown only now: write it into the file, readable by its owner alone.</Text><Copyable label="the key file" text={add.data.keyFile} /></>}
            {!add.data.recoveryKey && !add.data.keyFile && <Text role="status">The passphrase opens the repository from now on.</Text>}
            <Text size="sm">Whoever has it and a copy of the repository can read everything in it.</Text>
            <Group justify="flex-end"><Button onClick={close}>Done</Button></Group>
          </>
        ) : (
          <>
            <NativeSelect label="Kind" value={kind} onChange={(event) => setKind(event.currentTarget.value as typeof kind)} data={[...KINDS]} data-autofocus />
            <TextInput label="Label" description="Whose it is, or where it lies" maxLength={128} value={label} onChange={(event) => setLabel(event.currentTarget.value)} />
            {kind === 'KIND_PASSPHRASE' && (
              <PasswordInput label="Passphrase" description="At least 12 characters" autoComplete="new-password" value={passphrase} onChange={(event) => setPassphrase(event.currentTarget.value)}
                visibilityToggleButtonProps={{ 'aria-label': 'Show the passphrase', tabIndex: 0 }} />
            )}
            {add.error ? <Problem error={add.error} /> : null}
            <Group justify="flex-end"><Button loading={add.isPending} disabled={short} onClick={() => add.mutate()}>Add it</Button></Group>
          </>
        )}
      </Stack>
    </Dialog>
  )
}

function RotateDialog({ repository, opened, close }: { repository: string; opened: boolean; close: () => void }) {
  const queries = useQueryClient()
  const rotate = useMutation({
    mutationFn: () => body(api.POST('/v1/repositories/{repository}/keys:rotate', { params: { path: { repository } }, body: {} })),
    onSuccess: () => { close(); void queries.invalidateQueries({ queryKey: ['repositories', repository, 'keys'] }) },
  })
  return (
    <Confirm opened={opened} danger={false} onClose={close} title="Rotate the keys?" action="Rotate" busy={rotate.isPending} error={rotate.error} onConfirm={() => rotate.mutate()}>
      <Text>From now on is encrypted with new keys. All keys in the list that open the repository go on to open everything; secrets don’t change. Keys that were removed before don’t open what is written after it, but still what was written until now.</Text>
    </Confirm>
  )
}
