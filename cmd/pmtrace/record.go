package main

import "github.com/spf13/cobra"

func (a *app) recordCommand() *cobra.Command { return &cobra.Command{Use: "record"} }
func (a *app) followCommand() *cobra.Command { return &cobra.Command{Use: "follow", Hidden: true} }
