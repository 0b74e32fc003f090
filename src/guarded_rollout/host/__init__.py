"""This machine: releases, slots, processes, traffic."""
