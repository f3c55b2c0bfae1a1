import { Button, Paper, PasswordInput, Stack, Text, TextInput, Title } from '@mantine/core'
import { useMutation, useQueryClient } from '@tanstack/react-query'
import { useEffect, useState, type FormEvent } from 'react'
import { api, body } from '../api/client'
import { ApiError } from '../api/problem'
import { Problem } from '../ui/parts'

/** The address stays as it is: after signing in, one is where one wanted to go. */
export function SignIn() {
  const queries = useQueryClient()
  const [user, setUser] = useState('')
  const [password, setPassword] = useState('')
  useEffect(() => { document.title = 'Sign in – Umbra' }, [])
  const signIn = useMutation({
    mutationFn: () => body(api.POST('/v1/sessions', { body: { user, password } })),
    onSuccess: () => queries.resetQueries(),
  })
  const submit = (event: FormEvent) => {
    event.preventDefault()
    signIn.mutate()
  }
  return (
    <main className="sign-in">
      <Paper withBorder p="lg">
        <form onSubmit={submit}>
          <Stack>
            <Title order={1} size="h3">Sign in to Umbra</Title>
            <TextInput label="User" name="username" autoComplete="username" required autoFocus value={user}
              onChange={(event) => setUser(event.currentTarget.value)} />
            <PasswordInput label="Password" name="password" autoComplete="current-password" required value={password}
              visibilityToggleButtonProps={{ 'aria-label': 'Show the password', tabIndex: 0 }}
              onChange={(event) => setPassword(event.currentTarget.value)} />
            {signIn.error ? <Problem error={refusal(signIn.error)} /> : null}
            <Button type="submit" loading={signIn.isPending}>Sign in</Button>
            <Text size="sm" className="dim">The first time: the user is admin, the password is in the file first-credential of the daemon’s data folder.</Text>
          </Stack>
        </form>
      </Paper>
    </main>
  )
}

/** "Sign in again" would be no help here. */
function refusal(error: unknown): unknown {
  if (!(error instanceof ApiError) || error.status !== 401 || error.reason !== 'UNAUTHENTICATED') return error
  return new ApiError(401, {
    detail: 'User or password is wrong.', reason: error.reason,
    action: 'Try again. The way back in, on the daemon’s machine: umbra user reset-password NAME.',
  })
}
