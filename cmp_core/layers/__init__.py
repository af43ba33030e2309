"""A layer's tensors and what is done with them alone: conversion, sampling, scores of anchors."""
