"""What people and programs see of the back ends."""
