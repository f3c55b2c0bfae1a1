import { Anchor, Button, Group, PasswordInput, Stack, Table, Text, TextInput } from '@mantine/core'
import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { Link, useNavigate } from 'react-router'
import { usersQuery } from '../../api/admin_queries'
import { api, body, type Grant, type User } from '../../api/client'
import { identityQuery } from '../../api/queries'
import { idOf } from '../../logic/format'
import { grantsProblem } from '../../logic/grants'
import { canEverywhere } from '../../logic/permissions'
import { GrantsEditor, GrantWords } from '../../ui/grants'
import { Dialog, Loaded, Page, Problem, Tag, When } from '../../ui/parts'

export function UserState({ user }: { user: User }) {
  return user.disabled ? <Tag tone="idle">Disabled</Tag> : <Tag tone="good">Active</Tag>
}

export default function Users() {
  const users = useQuery(usersQuery)
  const identity = useQuery(identityQuery)
  const [asks, setAsks] = useState(false)
  return (
    <Page title="Users" actions={canEverywhere(identity.data, 'users.manage') && <Button onClick={() => setAsks(true)}>Add a user</Button>}>
      <Loaded query={users} rows={4}>
        {(all) => (
          <div className="scroll">
            <Table>
              <Table.Thead><Table.Tr><Table.Th>User</Table.Th><Table.Th>Name</Table.Th><Table.Th>State</Table.Th><Table.Th>May</Table.Th><Table.Th>Last signed in</Table.Th></Table.Tr></Table.Thead>
              <Table.Tbody>
                {all.map((user) => (
                  <Table.Tr key={user.name}>
                    <Table.Td><Anchor component={Link} to={`/admin/users/${idOf(user.name)}`}>{idOf(user.name)}</Anchor></Table.Td>
                    <Table.Td>{user.displayName}</Table.Td>
                    <Table.Td><UserState user={user} /></Table.Td>
                    <Table.Td><GrantWords grants={user.grants} /></Table.Td>
                    <Table.Td><When value={user.lastSignInTime} /></Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody>
            </Table>
          </div>
        )}
      </Loaded>
      {asks && <AddDialog close={() => setAsks(false)} />}
    </Page>
  )
}

function AddDialog({ close }: { close: () => void }) {
  const queries = useQueryClient()
  const navigate = useNavigate()
  const [name, setName] = useState('')
  const [displayName, setDisplayName] = useState('')
  const [password, setPassword] = useState('')
  const [grants, setGrants] = useState<Grant[]>([{ role: 'roles/viewer' }])
  const add = useMutation({
    mutationFn: () => body<User>(api.POST('/v1/users', { body: { user: { name: `users/${name}`, displayName, grants }, password } })),
    onSuccess: (user) => { void queries.invalidateQueries({ queryKey: ['users'] }); void navigate(`/admin/users/${idOf(user.name)}`) },
    gcTime: 0,
  })
  const wrong = !/^[a-z0-9.-]{1,64}$/.test(name) ? 'A user’s name has 1 to 64 of a-z, 0-9, - and dots.'
    : password !== '' && [...password].length < 12 ? 'A password has at least 12 characters.' : grantsProblem(grants)
  return (
    <Dialog opened onClose={close} title="Add a user">
      <Stack>
        <TextInput label="User" description="With this name he signs in; it can’t be changed later" value={name} onChange={(event) => setName(event.currentTarget.value)} data-autofocus />
        <TextInput label="Name for people" value={displayName} onChange={(event) => setDisplayName(event.currentTarget.value)} />
        <PasswordInput label="Password" description="At least 12 characters; empty: he can’t sign in before one is set" autoComplete="new-password" value={password} onChange={(event) => setPassword(event.currentTarget.value)} visibilityToggleButtonProps={{ 'aria-label': 'Show the password', tabIndex: 0 }} />
        <GrantsEditor grants={grants} change={setGrants} />
        {name !== '' && wrong && <Text size="sm" role="status">{wrong}</Text>}
        {add.error ? <Problem error={add.error} /> : null}
        <Group justify="flex-end"><Button loading={add.isPending} disabled={wrong !== ''} onClick={() => add.mutate()}>Add</Button></Group>
      </Stack>
    </Dialog>
  )
}
