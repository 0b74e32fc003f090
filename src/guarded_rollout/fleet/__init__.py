"""A rollout over many hosts: Ansible does it, this drives it, keeps the record, and knows the way back."""
