"""What each mesh's objects can say: a file a mesh, pure functions from objects to values and back."""
