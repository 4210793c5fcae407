"""Interventions on the residual stream: does a model use what a probe reads?"""
